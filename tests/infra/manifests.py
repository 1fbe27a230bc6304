"""Manifests of a cluster: rendered by kubectl, and checked against schemas.

Kubernetes' own kinds have their published schemas in a package. Those of operators have none there:
`FIELDS` states what we use of them, strictly, so that a wrong field fails everywhere; where the
operators' published definitions are at hand ($VITLENS_CRDS, a folder), those are asked too.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import yaml

from tests.conftest import ROOT

Manifest = dict[str, Any]
KUBERNETES = ROOT / "infra" / "kubernetes"
OVERLAYS = ("overlays/cpu", "overlays/gpu", "overlays/local", "jobs")
KUBECTL = Path(sys.executable).with_name("kubectl")
CRDS = "VITLENS_CRDS"


def _strict(required: str = "", **properties: Any) -> Manifest:
    return {
        "type": "object",
        "additionalProperties": False,
        "properties": properties,
        "required": required.split(),
    }


_TEXT, _WHOLE, _FLAG = {"type": "string"}, {"type": "integer"}, {"type": "boolean"}
_COUNT = {"type": "integer", "minimum": 0}
_TEXTS = {"type": "object", "additionalProperties": _TEXT}
_ANY = {"type": "object"}  # checked as a pod template, or as resources, by Kubernetes' own schema
_GROUP = {"rayStartParams": _TEXTS, "template": _ANY, "labels": _TEXTS, "resources": _TEXTS}
_CLUSTER = _strict(
    "headGroupSpec",
    rayVersion=_TEXT,
    enableInTreeAutoscaling=_FLAG,
    authOptions=_strict(mode={"enum": ["disabled", "token"]}, secretName=_TEXT),
    autoscalerOptions=_strict(
        upscalingMode={"enum": ["Default", "Aggressive", "Conservative"]},
        idleTimeoutSeconds=_COUNT,
        resources=_ANY,
    ),
    headGroupSpec=_strict("template", **_GROUP, serviceType=_TEXT),
    workerGroupSpecs={
        "type": "array",
        "items": _strict(
            "groupName minReplicas maxReplicas template",
            **_GROUP,
            groupName=_TEXT,
            replicas=_COUNT,
            minReplicas=_COUNT,
            maxReplicas=_COUNT,
            idleTimeoutSeconds=_COUNT,
        ),
    },
)
_JOB = _strict(
    "entrypoint rayClusterSpec",
    entrypoint=_TEXT,
    submissionMode={"enum": ["K8sJobMode", "HTTPMode", "SidecarMode", "InteractiveMode"]},
    backoffLimit=_COUNT,
    activeDeadlineSeconds=_COUNT,
    shutdownAfterJobFinishes=_FLAG,
    ttlSecondsAfterFinished=_COUNT,
    suspend=_FLAG,
    rayClusterSpec=_CLUSTER,
)
_SELECTOR = _strict(matchLabels=_TEXTS)
_KEY = _strict("name key", name=_TEXT, key=_TEXT)
_ENDPOINT = _strict(
    "port", port=_TEXT, interval=_TEXT, authorization=_strict("credentials", credentials=_KEY)
)
_RULE = _strict("alert expr", alert=_TEXT, expr=_TEXT, labels=_TEXTS, annotations=_TEXTS)
_RULE["properties"]["for"] = _TEXT
FIELDS: Mapping[tuple[str, str], Manifest] = {
    ("ray.io/v1", "RayCluster"): _CLUSTER,
    ("ray.io/v1", "RayJob"): _JOB,
    ("ray.io/v1", "RayCronJob"): _strict(
        "schedule jobTemplate", schedule=_TEXT, suspend=_FLAG, jobTemplate=_JOB
    ),
    ("monitoring.coreos.com/v1", "ServiceMonitor"): _strict(
        "selector endpoints", selector=_SELECTOR, endpoints={"type": "array", "items": _ENDPOINT}
    ),
    ("monitoring.coreos.com/v1", "PodMonitor"): _strict(
        "selector podMetricsEndpoints",
        selector=_SELECTOR,
        podMetricsEndpoints={"type": "array", "items": _ENDPOINT},
    ),
    ("monitoring.coreos.com/v1", "PrometheusRule"): _strict(
        "groups",
        groups={
            "type": "array",
            "items": _strict("name rules", name=_TEXT, rules={"type": "array", "items": _RULE}),
        },
    ),
}


@cache
def _rendered(overlay: str) -> str:
    command = [KUBECTL, "kustomize", KUBERNETES / overlay]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def render(overlay: str) -> list[Manifest]:
    """Every manifest of an overlay, as `kubectl apply -k` would send it."""
    return [document for document in yaml.safe_load_all(_rendered(overlay)) if document]


def faults(manifest: Manifest) -> list[str]:
    """What a cluster would refuse of a manifest."""
    name = f"{manifest['kind']} {manifest['metadata']['name']}"
    kind = (manifest["apiVersion"], manifest["kind"])
    found = [f"{name}: {fault}" for fault in _core_faults(_core(manifest))]
    for template in pod_templates(manifest) if kind in FIELDS else ():
        pod = {"apiVersion": "v1", "kind": "PodTemplate", "metadata": {"name": "x"}}
        found += [f"{name}: {fault}" for fault in _core_faults({**pod, "template": template})]
    if kind in FIELDS:
        found += _schema_faults(name, manifest["spec"], FIELDS[kind])
        found += [
            fault
            for published in _published(*kind)
            for fault in _schema_faults(f"{name} (published)", manifest, published)
        ]
    return found


def pod_templates(manifest: Any) -> Iterator[Manifest]:
    """Every pod template within a manifest, however deep."""
    if isinstance(manifest, dict):
        spec = manifest.get("spec")
        if isinstance(spec, dict) and "containers" in spec and "apiVersion" not in manifest:
            yield manifest
        for value in manifest.values():
            yield from pod_templates(value)
    elif isinstance(manifest, list):
        for value in manifest:
            yield from pod_templates(value)


def _core(manifest: Manifest) -> Manifest | None:
    return None if (manifest["apiVersion"], manifest["kind"]) in FIELDS else manifest


def _core_faults(manifest: Manifest | None) -> Iterator[str]:
    if manifest is None:
        return
    try:
        kubernetes_validate.validate(manifest, kubernetes_validate.latest_version(), strict=True)
    except kubernetes_validate.ValidationError as error:
        yield f"{error.path}: {error.message}"
    except kubernetes_validate.SchemaNotFoundError as error:
        yield str(error.message)


def _schema_faults(name: str, value: Any, schema: Manifest) -> list[str]:
    validator = jsonschema.Draft202012Validator(schema)
    return [f"{name}: {error.json_path}: {error.message}" for error in validator.iter_errors(value)]


@cache
def _published(version: str, kind: str) -> tuple[Manifest, ...]:
    """The published schema of an operator's kind, if the folder of definitions is there."""
    group, _, number = version.partition("/")
    for path in Path(os.environ[CRDS]).glob("*.yaml") if CRDS in os.environ else ():
        definition = yaml.safe_load(path.read_text())["spec"]
        if (definition["group"], definition["names"]["kind"]) == (group, kind):
            schemas = {v["name"]: v["schema"]["openAPIV3Schema"] for v in definition["versions"]}
            return (_closed(schemas[number]),)
    return ()


def _closed(schema: Any) -> Any:
    """A schema that refuses unknown fields, as the API server prunes or refuses them."""
    if isinstance(schema, list):
        return [_closed(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    if schema.get("x-kubernetes-int-or-string"):
        return {"type": ["integer", "string"]}
    closed = {key: _closed(value) for key, value in schema.items() if key != "format"}
    is_open = schema.get("x-kubernetes-preserve-unknown-fields")
    if (
        isinstance(schema.get("properties"), dict)
        and schema.get("type") == "object"
        and not is_open
    ):
        # `metadata` and its like are described by the API server, not here.
        closed.setdefault("additionalProperties", False)
    if schema.get("nullable"):
        closed["type"] = [schema["type"], "null"]
    return closed
