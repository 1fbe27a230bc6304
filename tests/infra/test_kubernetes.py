"""A cluster's manifests: every overlay renders, fits the schemas, and keeps our promises."""

from __future__ import annotations

import base64
import copy
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from infra.kubernetes.rules import WRITTEN, as_resource
from tests.conftest import ROOT
from tests.infra.manifests import OVERLAYS, Manifest, faults, pod_templates, render

# Secrets that a team makes itself, as a page says; without them their pods start as well.
OF_THE_TEAM = {"vitlens-notices"}


def by_name(overlay: str) -> dict[tuple[str, str], Manifest]:
    return {(m["kind"], m["metadata"]["name"]): m for m in render(overlay)}


def containers(overlay: str) -> Iterator[tuple[str, dict[str, Any], dict[str, Any]]]:
    """Every container with its name and its pod's spec."""
    for manifest in render(overlay):
        for template in pod_templates(manifest):
            spec = template["spec"]
            for container in (*spec.get("initContainers", ()), *spec["containers"]):
                yield f"{manifest['metadata']['name']}/{container['name']}", container, spec


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_what_an_overlay_renders_fits_the_schemas(overlay: str) -> None:
    assert [fault for manifest in render(overlay) for fault in faults(manifest)] == []


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_a_wrong_field_of_any_manifest_is_found(overlay: str) -> None:
    """At the top of every spec, and in every pod that it describes."""
    for manifest in render(overlay):
        if "spec" not in manifest:
            continue
        broken = copy.deepcopy(manifest)
        broken["spec"]["replikas"] = 1
        assert faults(broken), manifest["metadata"]["name"]
        for number, _ in enumerate(pod_templates(manifest)):
            broken = copy.deepcopy(manifest)
            template = [*pod_templates(broken)][number]
            template["spec"]["containers"][0]["comand"] = ["true"]
            assert faults(broken), manifest["metadata"]["name"]


def _worker_group(manifest: Manifest) -> Manifest:
    return manifest["spec"]["workerGroupSpecs"][0]


@pytest.mark.parametrize(
    "damage",
    [
        lambda m: _worker_group(m).update(maxReplicas="eight"),
        lambda m: _worker_group(m).pop("groupName"),
        lambda m: _worker_group(m).update(minReplica=1),
        lambda m: m["spec"].pop("headGroupSpec"),
        lambda m: m["spec"]["authOptions"].update(mode="password"),
        lambda m: m["spec"]["headGroupSpec"]["rayStartParams"].update({"num-cpus": 0}),
        lambda m: _worker_group(m)["template"]["spec"].update(tolerations={"key": "x"}),
    ],
)
def test_a_wrong_ray_cluster_is_found(damage: Callable[[Manifest], object]) -> None:
    manifest = copy.deepcopy(by_name("overlays/gpu")["RayCluster", "vitlens"])
    damage(manifest)
    assert faults(manifest)


def test_a_misspelt_resource_in_a_file_fails_the_rendered_overlay(tmp_path: Path) -> None:
    """As somebody would make the mistake: in a file of a copy."""
    shutil.copytree(ROOT / "infra", tmp_path / "infra", ignore=shutil.ignore_patterns("secrets"))
    path = tmp_path / "infra/kubernetes/base/service.yaml"
    path.write_text(path.read_text().replace("readinessProbe", "readynessProbe"))
    found = [
        fault
        for m in render(str(tmp_path / "infra/kubernetes/overlays/cpu"))
        for fault in faults(m)
    ]
    assert any("readynessProbe" in fault for fault in found)


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_no_pod_is_root_has_capabilities_or_an_image_without_a_version(overlay: str) -> None:
    for name, container, spec in containers(overlay):
        assert spec["securityContext"]["runAsNonRoot"], name
        assert spec["enableServiceLinks"] is False, name  # MLflow would read MLFLOW_PORT
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, name
        own = container["securityContext"]
        assert own["capabilities"] == {"drop": ["ALL"]}, name
        assert own["allowPrivilegeEscalation"] is False, name
        assert ":" in container["image"], name
        assert not container["image"].endswith(":latest"), name


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_what_pods_name_is_there(overlay: str) -> None:
    """Config maps of the overlay (those of a job are of the base), and secrets of the script."""
    configs = {name for kind, name in by_name(overlay) if kind == "ConfigMap"}
    configs |= {name for kind, name in by_name("overlays/cpu") if kind == "ConfigMap"}
    claims = {name for kind, name in by_name(overlay) if kind == "PersistentVolumeClaim"}
    for name, container, spec in containers(overlay):
        for source in container.get("envFrom", ()):
            if "configMapRef" in source:
                assert source["configMapRef"]["name"] in configs, name
            else:
                assert source["secretRef"]["name"] in secrets(), name
        for variable in container.get("env", ()):
            if key := variable.get("valueFrom", {}).get("secretKeyRef"):
                known = key["key"] in secrets().get(key["name"], ())
                assert known or (key["name"] in OF_THE_TEAM and key["optional"]), name
        volumes = {volume["name"]: volume for volume in spec.get("volumes", ())}
        for volume in volumes.values():
            if "configMap" in volume:
                assert volume["configMap"]["name"] in configs, name
            if "secret" in volume:
                made = volume["secret"]["secretName"]
                optional = made in OF_THE_TEAM and volume["secret"]["optional"]
                assert made in secrets() or optional, name
            if "persistentVolumeClaim" in volume:
                assert volume["persistentVolumeClaim"]["claimName"] in claims, name


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_a_variable_is_put_into_another_only_where_that_works(overlay: str) -> None:
    """Those above it in the same list; what `envFrom` brings is not put into values."""
    for name, container, _ in containers(overlay):
        above: set[str] = set()
        for variable in container.get("env", ()):
            used = set(re.findall(r"\$\((\w+)\)", variable.get("value", "")))
            assert used <= above, f"{name}: {variable['name']}"
            above.add(variable["name"])


_MADE: dict[str, dict[str, str]] = {}


def secrets() -> dict[str, dict[str, str]]:
    """What the script makes, decoded, from files that hold their own names."""
    return _MADE


@pytest.fixture(autouse=True, scope="module")
def made_secrets(tmp_path_factory: pytest.TempPathFactory) -> None:
    root = tmp_path_factory.mktemp("infra")
    for name in ("compose", "kubernetes"):
        (root / name).mkdir()
        shutil.copy(ROOT / "infra" / name / "secrets.sh", root / name)
    subprocess.run(["bash", root / "compose/secrets.sh"], check=True)
    for path in (root / "compose/secrets").iterdir():
        path.chmod(0o600)
        path.write_text(path.name)
    printed = subprocess.run(
        ["bash", root / "kubernetes/secrets.sh"], capture_output=True, text=True, check=True
    ).stdout
    for manifest in yaml.safe_load_all(printed):
        assert faults(manifest) == []
        decoded = {k: base64.b64decode(v).decode() for k, v in manifest["data"].items()}
        _MADE[manifest["metadata"]["name"]] = decoded


def test_every_part_gets_no_more_secrets_than_it_needs() -> None:
    of_part = {
        name: {
            source["secretRef"]["name"]
            for source in container.get("envFrom", ())
            if "secretRef" in source
        }
        for name, container, _ in containers("overlays/gpu")
    }
    assert of_part["webserver/webserver"] == {"vitlens-dagster"}
    assert of_part["daemon/daemon"] == {"vitlens-dagster"}
    assert of_part["service/service"] == {"vitlens-service"}
    assert of_part["backup/backup"] == {"vitlens-backup"}
    assert set(secrets()["vitlens-dagster"].values()) == {"postgres_dagster"}
    assert "mlflow_admin" not in secrets()["vitlens-service"].values()
    holders = {name for name, found in secrets().items() if "postgres" in found.values()}
    assert holders == {"vitlens-backup"}


@pytest.mark.parametrize("overlay", OVERLAYS[:3])
def test_every_part_is_behind_a_policy_and_named_by_its_selector(overlay: str) -> None:
    found = by_name(overlay)
    assert found["NetworkPolicy", "deny"]["spec"] == {
        "podSelector": {},
        "policyTypes": ["Ingress", "Egress"],
    }
    labelled = {
        template["metadata"]["labels"]["vitlens/part"]
        for manifest in found.values()
        for template in pod_templates(manifest)
    }
    for (kind, name), manifest in found.items():
        if kind in {"Service", "ServiceMonitor", "PodMonitor", "PodDisruptionBudget"}:
            chosen = manifest["spec"]["selector"]
            part = chosen.get("matchLabels", chosen)["vitlens/part"]
            assert part in labelled, (kind, name)
        if kind == "Service":
            assert ("NetworkPolicy", name) in found, name


def test_the_service_is_asked_when_it_is_ready_and_never_away() -> None:
    found = by_name("overlays/cpu")
    service = found["Deployment", "service"]["spec"]
    [container] = service["template"]["spec"]["containers"]
    assert container["readinessProbe"]["httpGet"]["path"] == "/ready"
    assert service["strategy"]["rollingUpdate"]["maxUnavailable"] == 0
    assert service["replicas"] >= 2
    assert found["PodDisruptionBudget", "service"]["spec"]["minAvailable"] == 1


def test_groups_grow_from_nothing_and_bear_spot_nodes() -> None:
    groups = {
        group["groupName"]: group
        for group in by_name("overlays/gpu")["RayCluster", "vitlens"]["spec"]["workerGroupSpecs"]
    }
    assert groups.keys() == {"cpu", "gpu"}
    for name, group in groups.items():
        assert group["minReplicas"] == 0 < group["maxReplicas"]
        tolerated = {t["key"] for t in group["template"]["spec"]["tolerations"]}
        assert "vitlens/spot" in tolerated
        [container] = group["template"]["spec"]["containers"]
        gpus = container["resources"]["limits"].get("nvidia.com/gpu")
        assert gpus == ("1" if name == "gpu" else None)


def test_everything_at_its_most_fits_the_quota_of_pods_and_gpus() -> None:
    found = by_name("overlays/gpu")
    hard = found["ResourceQuota", "vitlens"]["spec"]["hard"]
    asked = {"cpu": 0, "nvidia.com/gpu": 0}
    for group in found["RayCluster", "vitlens"]["spec"]["workerGroupSpecs"]:
        [container] = group["template"]["spec"]["containers"]
        for name in asked:
            asked[name] += group["maxReplicas"] * int(
                container["resources"]["requests"].get(name, 0)
            )
    assert 0 < asked["nvidia.com/gpu"] <= int(hard["requests.nvidia.com/gpu"])
    assert 0 < asked["cpu"] <= int(hard["requests.cpu"])


def test_the_rules_of_the_operator_are_those_that_are_tested() -> None:
    assert WRITTEN.read_text() == as_resource(), "run .venv/bin/python -m infra.kubernetes.rules"


def test_a_job_of_its_own_begins_again_only_after_faults_that_may_pass() -> None:
    job = by_name("jobs")["RayJob", "point-cloud-full"]["spec"]
    assert job["backoffLimit"] > 0
    assert job["shutdownAfterJobFinishes"] is True
    for code, ends_with in ((0, 0), (1, 0), (2, 0), (3, 3), (137, 137)):
        command = job["entrypoint"].replace(
            "vitlens run point_cloud --profile full", f"(exit {code})"
        )
        assert subprocess.run(["sh", "-c", command], check=False).returncode == ends_with
