"""Manifests of a cluster: rendered by kubectl, and checked against schemas.

Kubernetes' own kinds have their published schemas in a package. Those of operators have none there:
`FIELDS` states what we use of them, strictly, so that a wrong field fails everywhere; where the
operators' published definitions are at hand ($VITLENS_CRDS, a folder), those are asked too. What
operators' kinds have of a pod or a container is asked of Kubernetes' own schemas.
"""

from __future__ import annotations

import copy
import os
import shutil
import subprocess
import sys
import tempfile
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
WITH = " with its components"
# As they are, and as a team has them that has uncommented the line `components`.
CLUSTERS = ("overlays/cpu", "overlays/gpu", "overlays/local")
WHOLE = tuple(name + WITH for name in CLUSTERS)
OVERLAYS = (*CLUSTERS, *WHOLE, "jobs")
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
_ANY = {"type": "object"}  # `_core_parts`: checked by Kubernetes' own schema
_OF_A_CONTAINER = {"resources", "securityContext"}
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
        securityContext=_ANY,
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
# Of a cluster that stands by itself; KubeRay refuses it where a job makes the cluster.
_ALONE = copy.deepcopy(_CLUSTER)
_ALONE["properties"]["upgradeStrategy"] = _strict("type", type={"enum": ["Recreate", "None"]})
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
    "port",
    port=_TEXT,
    interval=_TEXT,
    authorization=_strict("credentials", credentials=_KEY),
    relabelings={
        "type": "array",
        "items": _strict("targetLabel replacement", targetLabel=_TEXT, replacement=_TEXT),
    },
)
_RULE = _strict("alert expr", alert=_TEXT, expr=_TEXT, labels=_TEXTS, annotations=_TEXTS)
_RULE["properties"]["for"] = _TEXT
FIELDS: Mapping[tuple[str, str], Manifest] = {
    ("ray.io/v1", "RayCluster"): _ALONE,
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
def render(overlay: str) -> tuple[Manifest, ...]:
    """Every manifest of one of `OVERLAYS`, as `kubectl apply -k` would send it; to be read only."""
    if overlay not in WHOLE:
        return _kustomized(KUBERNETES / overlay)
    plain = overlay.removesuffix(WITH)
    stated = plain.replace("gpu", "cpu") + "/kustomization.yaml"  # `gpu` stands on `cpu`
    with tempfile.TemporaryDirectory() as folder:
        return changed(Path(folder), plain, stated, ("# components:", "components:"))


def changed(folder: Path, overlay: str, file: str, change: tuple[str, str]) -> tuple[Manifest, ...]:
    """The manifests of an overlay of a copy in `folder`, one of whose files is changed."""
    shutil.copytree(ROOT / "infra", folder / "infra", ignore=shutil.ignore_patterns("secrets"))
    path = folder / "infra" / "kubernetes" / file
    assert change[0] in path.read_text()
    path.write_text(path.read_text().replace(*change))
    return _kustomized(folder / "infra" / "kubernetes" / overlay)


def _kustomized(folder: Path) -> tuple[Manifest, ...]:
    command = [KUBECTL, "kustomize", folder]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return tuple(document for document in yaml.load_all(text, yaml.CSafeLoader) if document)


def faults(manifest: Manifest) -> list[str]:
    """What a cluster would refuse of a manifest."""
    name = f"{manifest['kind']} {manifest['metadata']['name']}"
    kind = (manifest["apiVersion"], manifest["kind"])
    if kind not in FIELDS:
        return [f"{name}: {fault}" for fault in _core_faults(manifest)]
    whole = _strict(
        "apiVersion kind metadata spec", spec=FIELDS[kind], apiVersion={}, kind={}, metadata={}
    )
    found = _schema_faults(name, manifest, whole)
    for part in _core_parts(manifest):
        found += [f"{name}: {fault}" for fault in _core_faults(part)]
    for published in _published(*kind):
        found += _schema_faults(f"{name} (published)", manifest, published)
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


def _core_parts(manifest: Manifest) -> Iterator[Manifest]:
    """What an operator's kind has in common with Kubernetes' own, as manifests of these."""
    yield {"apiVersion": "v1", "kind": "ConfigMap", "metadata": manifest["metadata"]}
    pod = {"apiVersion": "v1", "kind": "PodTemplate", "metadata": {"name": "x"}}
    for template in pod_templates(manifest):
        yield {**pod, "template": template}
    for cluster in ray_clusters(manifest):
        options = cluster.get("autoscalerOptions", {})
        autoscaler = {key: options[key] for key in _OF_A_CONTAINER & options.keys()}
        yield {**pod, "template": {"spec": {"containers": [{"name": "x", **autoscaler}]}}}


def ray_clusters(manifest: Manifest) -> Iterator[Manifest]:
    """The Ray clusters that a manifest makes: their specs."""
    if manifest["apiVersion"] == "ray.io/v1":
        spec = manifest["spec"].get("jobTemplate", manifest["spec"])
        yield spec.get("rayClusterSpec", spec)


def _core_faults(manifest: Manifest) -> Iterator[str]:
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
        definition = yaml.load(path.read_text(), yaml.CSafeLoader)["spec"]
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
