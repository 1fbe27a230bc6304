"""A cluster's manifests: every overlay renders, fits the schemas, and keeps our promises."""

from __future__ import annotations

import base64
import copy
import re
import shutil
import subprocess
import tomllib
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import click
import pytest
import yaml

from infra.kubernetes.rules import WRITTEN, as_resource
from pipelines.registry import signing
from tests.conftest import ROOT
from tests.infra.manifests import (
    CLUSTERS,
    FIELDS,
    OVERLAYS,
    WHOLE,
    WITH,
    Manifest,
    changed,
    faults,
    pod_templates,
    ray_clusters,
    render,
)
from workflows.cli import main

# Secrets that a team makes itself, as a page says; without them their pods start as well.
OF_THE_TEAM = {"vitlens-notices"}
PAGE = ROOT / "docs" / "deployment" / "kubernetes.md"
API_SERVER = {443, 6443, 8443, 16443}
MAIL = {465, 587}
# Kinds that keep pods running, and those that run them to an end.
KEEPS = {"Deployment", "StatefulSet"}
# What KubeRay makes of a cluster's spec itself (its release 1.6).
HEAD_LABELS = {"ray.io/node-type": "head", "ray.io/cluster": "vitlens"}


def by_name(overlay: str) -> dict[tuple[str, str], Manifest]:
    return {(m["kind"], m["metadata"]["name"]): m for m in render(overlay)}


def templates(overlay: str) -> Iterator[tuple[Manifest, Manifest]]:
    """Every pod template, with the manifest that it is of."""
    for manifest in render(overlay):
        for template in pod_templates(manifest):
            yield manifest, template


def containers(overlay: str) -> Iterator[tuple[str, dict[str, Any], dict[str, Any]]]:
    """Every container with its name and its pod's spec."""
    for manifest, template in templates(overlay):
        spec = template["spec"]
        for container in (*spec.get("initContainers", ()), *spec["containers"]):
            yield f"{manifest['metadata']['name']}/{container['name']}", container, spec


def ours(overlay: str) -> Iterator[tuple[str, dict[str, Any], dict[str, Any]]]:
    """The containers of the image that this project builds."""
    for name, container, spec in containers(overlay):
        if re.match(r"vitlens\b", container["image"]):
            yield name, container, spec


def mounts(container: dict[str, Any]) -> dict[str, str]:
    """Name of the volume by where it is mounted."""
    return {m["mountPath"]: m["name"] for m in container.get("volumeMounts", ())}


def volumes(spec: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {volume["name"]: volume for volume in spec.get("volumes", ())}


def of_secret(container: dict[str, Any]) -> set[str]:
    """Names of the secrets that a container has as variables."""
    sources = container.get("envFrom", ())
    return {source["secretRef"]["name"] for source in sources if "secretRef" in source}


@pytest.mark.slow
@pytest.mark.parametrize("overlay", OVERLAYS)
def test_what_an_overlay_renders_fits_the_schemas(overlay: str) -> None:
    assert [fault for manifest in render(overlay) for fault in faults(manifest)] == []


@pytest.mark.slow
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


# Whatever a user likes is a key in these.
_FREE = {"labels", "annotations", "matchLabels", "nodeSelector", "rayStartParams"}
_FREE |= {"requests", "limits"}


def _objects(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    if isinstance(value, dict):
        if not path or path[-1] not in _FREE:
            yield path
        for key, inner in value.items():
            if key != "template":  # a pod's: see the test above
                yield from _objects(inner, (*path, key))
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            yield from _objects(inner, (*path, number))


@pytest.mark.slow
def test_a_wrong_field_of_an_operators_kind_is_found_however_deep_it_stands() -> None:
    seen = set()
    for manifest in (*render("overlays/gpu"), *render("jobs")):
        kind = (manifest["apiVersion"], manifest["kind"])
        if kind not in FIELDS or kind in seen:
            continue
        seen.add(kind)
        for path in _objects(manifest):
            broken = copy.deepcopy(manifest)
            place: Any = broken
            for key in path:
                place = place[key]
            place["fieldd"] = 1
            assert faults(broken), (kind, path)
    assert seen == FIELDS.keys()


def _worker_group(manifest: Manifest) -> Manifest:
    return manifest["spec"]["workerGroupSpecs"][0]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "damage"),
    [
        ("RayCluster", lambda s: s["workerGroupSpecs"][0].update(maxReplicas="eight")),
        ("RayCluster", lambda s: s["workerGroupSpecs"][0].pop("groupName")),
        ("RayCluster", lambda s: s.pop("headGroupSpec")),
        ("RayCluster", lambda s: s["authOptions"].update(mode="password")),
        ("RayCluster", lambda s: s["upgradeStrategy"].update(type="Rolling")),
        ("RayCluster", lambda s: s["headGroupSpec"]["rayStartParams"].update({"num-cpus": 0})),
        ("RayCluster", lambda s: s["autoscalerOptions"]["resources"].update(requests="1")),
        (
            "RayCluster",
            lambda s: s["workerGroupSpecs"][0]["template"]["spec"].update(tolerations={"key": "x"}),
        ),
        ("RayJob", lambda s: s.update(backoffLimit="3")),
        ("RayJob", lambda s: s.update(submissionMode="Http")),
        ("RayJob", lambda s: s["rayClusterSpec"].update(upgradeStrategy={"type": "Recreate"})),
        ("RayCronJob", lambda s: s.update(schedule=3)),
        ("RayCronJob", lambda s: s["jobTemplate"].pop("entrypoint")),
        ("ServiceMonitor", lambda s: s["endpoints"][0].update(port=9808)),
        ("PodMonitor", lambda s: s.pop("selector")),
        ("PrometheusRule", lambda s: s["groups"][0]["rules"][0].pop("expr")),
    ],
)
def test_a_wrong_value_of_an_operators_kind_is_found(
    kind: str, damage: Callable[[Manifest], object]
) -> None:
    known = (*render("overlays/gpu"), *render("jobs"))
    manifest = copy.deepcopy(next(m for m in known if m["kind"] == kind))
    damage(manifest["spec"])
    assert faults(manifest)


def test_a_misspelt_resource_in_a_file_fails_the_rendered_overlay(tmp_path: Path) -> None:
    """As somebody would make the mistake: in a file of a copy."""
    change = ("readinessProbe", "readynessProbe")
    manifests = changed(tmp_path, "overlays/cpu", "base/exporter.yaml", change)
    assert any("readynessProbe" in fault for m in manifests for fault in faults(m))


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_no_pod_is_root_has_capabilities_or_an_image_without_a_version(overlay: str) -> None:
    for name, container, spec in containers(overlay):
        assert spec["securityContext"]["runAsNonRoot"], name
        assert spec["enableServiceLinks"] is False, name  # MLflow would read MLFLOW_PORT
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, name
        # Ray's autoscaler, in the head's pod, asks the cluster's API; nothing else does.
        is_head = container["name"] == "ray-head" or spec["containers"][0]["name"] == "ray-head"
        assert is_head or spec["automountServiceAccountToken"] is False, name
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
        assert of_secret(container) <= secrets().keys(), name
        for source in container.get("envFrom", ()):
            assert source.get("configMapRef", {}).get("name", "vitlens-environment") in configs
        for volume in volumes(spec).values():
            if "configMap" in volume:
                assert volume["configMap"]["name"] in configs, name
            if "secret" in volume:
                made = volume["secret"]["secretName"]
                optional = made in OF_THE_TEAM and volume["secret"]["optional"]
                assert made in secrets() or optional, name
            if "persistentVolumeClaim" in volume:
                assert volume["persistentVolumeClaim"]["claimName"] in claims, name
        assert set(mounts(container).values()) <= volumes(spec).keys() | claimed(overlay), name


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_the_key_that_a_variable_is_taken_of_is_there(overlay: str) -> None:
    for name, container, _ in containers(overlay):
        for variable in container.get("env", ()):
            if key := variable.get("valueFrom", {}).get("secretKeyRef"):
                known = key["key"] in secrets().get(key["name"], ())
                assert known or (key["name"] in OF_THE_TEAM and key["optional"]), name
            if key := variable.get("valueFrom", {}).get("configMapKeyRef"):
                assert key["name"] == "vitlens-environment", name
                assert key["key"] in environment("overlays/cpu"), name
    for manifest in render(overlay):
        for endpoint in manifest.get("spec", {}).get("endpoints", ()):
            if key := endpoint.get("authorization", {}).get("credentials"):
                assert key["key"] in secrets()[key["name"]], manifest["metadata"]["name"]


def claimed(overlay: str) -> set[str]:
    """Volumes that stateful sets claim, and mount by the name of the claim."""
    return {
        claim["metadata"]["name"]
        for manifest in render(overlay)
        for claim in manifest.get("spec", {}).get("volumeClaimTemplates", ())
    }


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_a_file_named_in_a_variable_or_an_argument_is_a_key_of_what_is_mounted_there(
    overlay: str,
) -> None:
    configs = {
        m["metadata"]["name"]: m["data"] for m in render(overlay) if m["kind"] == "ConfigMap"
    }
    for name, container, spec in ours(overlay):
        values = [variable.get("value", "") for variable in container.get("env", ())]
        for value in (*values, *container.get("args", ())):
            if not value.startswith("/etc/"):
                continue
            folder, _, file = value.rpartition("/")
            volume = volumes(spec)[mounts(container)[folder]]
            if "secret" in volume:
                assert file in secrets()[volume["secret"]["secretName"]], name
            else:
                assert file in configs[volume["configMap"]["name"]], name


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_a_variable_is_put_into_another_only_where_that_works(overlay: str) -> None:
    """Those above it in the same list; what `envFrom` brings is not put into values."""
    for name, container, _ in containers(overlay):
        above: set[str] = set()
        for variable in container.get("env", ()):
            used = set(re.findall(r"\$\((\w+)\)", variable.get("value", "")))
            assert used <= above, f"{name}: {variable['name']}"
            above.add(variable["name"])


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_nothing_is_mounted_into_another_volume(overlay: str) -> None:
    """The folders above such a mount would be root's, and no user of ours could change them."""
    for name, container, _ in containers(overlay):
        places = sorted(mounts(container))
        assert not any("subPath" in mount for mount in container.get("volumeMounts", ())), name
        for place in places:
            assert not any(other.startswith(place + "/") for other in places), (name, place)


@pytest.mark.parametrize("overlay", CLUSTERS)
def test_whoever_opens_dagsters_history_starts_by_the_entrypoint_that_brings_its_settings(
    overlay: str,
) -> None:
    """`command` would replace the entrypoint; KubeRay does, so a container before Ray's has it."""
    for name, container, spec in ours(overlay):
        assert "command" not in container, name
        if "vitlens-dagster" not in of_secret(container):
            assert "/etc/vitlens/dagster" not in mounts(container) or name == "vitlens/prepare"
            continue
        if container["name"] == "ray-head":
            [container] = spec["initContainers"]
        assert volumes(spec)[mounts(container)["/etc/vitlens/dagster"]]["configMap"], name
        assert mounts(container)["/var/lib/vitlens"] == "home", name
        assert container["args"], name
        assert {"configMapRef": {"name": "vitlens-environment"}} in container["envFrom"], name
    folder = environment(overlay)["DAGSTER_HOME"]
    assert folder == "/var/lib/vitlens/dagster"


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_what_must_be_written_can_be(overlay: str) -> None:
    """The home, and (but for one command that copies a file) scratch, are volumes of the pod."""
    for name, container, spec in ours(overlay):
        found = mounts(container)
        assert "emptyDir" in volumes(spec)[found["/var/lib/vitlens"]], name
        if container.get("args", [""])[0] != "install":
            assert "emptyDir" in volumes(spec)[found["/tmp"]], name
        temporary = [v["value"] for v in container.get("env", ()) if v["name"] == "TMPDIR"]
        assert all(place in found or place.startswith("/tmp/") for place in temporary), name


@pytest.mark.slow
@pytest.mark.parametrize("overlay", WHOLE)
def test_the_commands_of_vitlens_take_their_arguments(overlay: str) -> None:
    seen = set()
    for name, container, _ in ours(overlay):
        program, *arguments = container.get("args", ["ray"])
        if program == "vitlens":
            known, command, rest = main.resolve_command(click.Context(main), arguments)
            assert command is not None, name
            command.make_context(known, rest)
            seen.add(known)
    assert seen == {"serve", "exporter", "backup"}


UNITS = {"": 1.0, "m": 1e-3, "Mi": 2.0**20, "Gi": 2.0**30}


def quantity(text: str) -> float:
    """A quantity of Kubernetes, in cores or bytes."""
    unit = text.lstrip("0123456789.")
    return float(text.removesuffix(unit)) * UNITS[unit]


def is_on_disk(volume: dict[str, Any]) -> bool:
    return "emptyDir" in volume and volume["emptyDir"].get("medium") != "Memory"


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_the_disk_that_a_pod_may_fill_is_asked_for(overlay: str) -> None:
    for manifest, template in templates(overlay):
        spec, name = template["spec"], manifest["metadata"]["name"]
        may_fill = sum(
            quantity(volume["emptyDir"]["sizeLimit"])
            for volume in volumes(spec).values()
            if is_on_disk(volume)
        )
        asked = sum(
            quantity(container["resources"]["requests"].get("ephemeral-storage", "0"))
            for container in spec["containers"]
        )
        assert may_fill <= asked, name


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_the_shared_memory_of_a_ray_node_holds_its_object_store(overlay: str) -> None:
    """Ray takes three tenths of the memory, and without as much shared memory goes to the disk."""
    for name, container, spec in containers(overlay):
        if container["name"] in {"ray-head", "ray-worker"}:
            volume = volumes(spec)[mounts(container)["/dev/shm"]]["emptyDir"]
            assert volume["medium"] == "Memory"
            memory = quantity(container["resources"]["limits"]["memory"])
            assert quantity(volume["sizeLimit"]) >= 0.3 * memory, name


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_a_probe_gives_a_busy_machine_time(overlay: str) -> None:
    """The default is one second. Exec probes start a Python."""
    for name, container, _ in containers(overlay):
        for kind in ("startupProbe", "readinessProbe", "livenessProbe"):
            if (probe := container.get(kind)) is None:
                continue
            is_python = "exec" in probe and "/opt/vitlens" in probe["exec"]["command"][0]
            assert (20 if is_python else 5) <= probe["timeoutSeconds"], (name, kind)
            assert probe["timeoutSeconds"] <= probe["periodSeconds"], (name, kind)
            if kind == "startupProbe":
                assert probe["failureThreshold"] * probe["periodSeconds"] >= 300, name
            if kind == "livenessProbe":
                assert probe["failureThreshold"] * probe["periodSeconds"] >= 100, name


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_the_service_of_a_ray_head_has_the_ports_that_kuberay_looks_up(overlay: str) -> None:
    """They are those of the container, if it names any: a job is submitted to `dashboard`."""
    for manifest in render(overlay):
        for cluster in ray_clusters(manifest):
            [head] = cluster["headGroupSpec"]["template"]["spec"]["containers"]
            ports = {port["name"]: port["containerPort"] for port in head["ports"]}
            assert ports == {"gcs": 6379, "dashboard": 8265, "client": 10001, "metrics": 8080}


_MADE: dict[str, dict[str, str]] = {}
_FILES: dict[str, str] = {}


def secrets() -> dict[str, dict[str, str]]:
    """What the script makes, decoded."""
    return _MADE


def sources(secret: str) -> set[str]:
    """The files whose content a secret holds, by comparing contents."""
    return {name for name, text in _FILES.items() if text in _MADE[secret].values()}


@pytest.fixture(autouse=True, scope="module")
def made_secrets(tmp_path_factory: pytest.TempPathFactory) -> None:
    root = tmp_path_factory.mktemp("infra")
    for name in ("compose", "kubernetes"):
        without = shutil.ignore_patterns("secrets")
        shutil.copytree(ROOT / "infra" / name, root / name, ignore=without)
    subprocess.run(["bash", root / "compose/secrets.sh"], check=True)
    for _ in range(2):  # what exists stays
        printed = subprocess.run(
            ["bash", root / "kubernetes/secrets.sh"], capture_output=True, text=True, check=True
        ).stdout
        made = {}
        for manifest in yaml.safe_load_all(printed):
            assert faults(manifest) == []
            decoded = {k: base64.b64decode(v).decode() for k, v in manifest["data"].items()}
            made[manifest["metadata"]["name"]] = decoded
        assert made == (_MADE or made)
        _MADE.update(made)
    files = (root / "compose/secrets").iterdir()
    _FILES.update({path.name: path.read_text() for path in files if path.is_file()})


def test_a_secret_is_no_copy_of_another() -> None:
    assert len(set(_FILES.values())) == len(_FILES)


def test_every_part_gets_no_more_secrets_than_it_needs() -> None:
    of_part = {name: of_secret(c) for name, c, _ in containers("overlays/gpu" + WITH)}
    assert of_part["webserver/webserver"] == {"vitlens-dagster"}
    assert of_part["daemon/daemon"] == {"vitlens-dagster"}
    assert of_part["service/service"] == {"vitlens-service"}
    assert of_part["backup/backup"] == {"vitlens-backup"}
    assert of_part["vitlens/ray-worker"] == {"vitlens-work"}
    assert of_part["vitlens/ray-head"] == {"vitlens-work", "vitlens-dagster"}
    assert of_part["mlflow/mlflow"] == {"vitlens-mlflow"}
    assert of_part["exporter/exporter"] == {"vitlens-exporter", "vitlens-dagster"}
    assert sources("vitlens-dagster") == {"postgres_dagster"}
    assert sources("vitlens-work") == {"runs_store_key", "mlflow_runs"}
    assert sources("vitlens-exporter") == {"exporter_store_key", "mlflow_exporter"}
    assert sources("vitlens-backup") == {"backup_store_key", "postgres"}
    assert sources("vitlens-migrate") == {"postgres_mlflow"}
    assert sources("vitlens-service") == {"service_store_key", "mlflow_reader", "service_token"}
    holders = {name for name in secrets() if "postgres" in sources(name)}
    assert holders == {"vitlens-backup"}
    admins = {name for name in secrets() if "mlflow_admin" in sources(name)}
    assert admins == {"vitlens-mlflow", "vitlens-accounts"}
    signers = {
        name
        for name, _, spec in containers("overlays/gpu" + WITH)
        for volume in volumes(spec).values()
        if volume.get("secret", {}).get("secretName") == "vitlens-signing"
    }
    assert signers == {"vitlens/prepare", "vitlens/ray-head"}


def test_accounts_stand_with_their_secrets_alone() -> None:
    """The shared addresses would make every part the account that may do everything."""
    assert secrets()["vitlens-work"]["MLFLOW_TRACKING_USERNAME"] == "runs"
    assert secrets()["vitlens-work"]["AWS_ACCESS_KEY_ID"] == "vitlens-runs"
    assert secrets()["vitlens-service"]["MLFLOW_TRACKING_USERNAME"] == "service"
    assert secrets()["vitlens-service"]["AWS_ACCESS_KEY_ID"] == "vitlens-service"
    for overlay in CLUSTERS:
        names = environment(overlay).keys()
        assert not [n for n in names if re.search("USERNAME|PASSWORD|TOKEN|SECRET|KEY", n)]
    for secret in secrets().values():
        for password, account in (
            ("AWS_SECRET_ACCESS_KEY", "AWS_ACCESS_KEY_ID"),
            ("MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_USERNAME"),
        ):
            assert (password in secret) == (account in secret)


def test_the_service_trusts_the_key_that_the_cluster_signs_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = tmp_path / "signing.key"
    key.write_text(secrets()["vitlens-signing"]["signing.key"])
    key.chmod(0o600)
    trusted = tmp_path / "trusted.keys"
    trusted.write_text(secrets()["vitlens-trusted"]["trusted.keys"])
    monkeypatch.setenv(signing.KEY, str(key))
    monkeypatch.setenv(signing.TRUSTED, str(trusted))
    assert signing.trusted() == [signing.public_key(tmp_path)]
    for overlay in WHOLE:
        for name, container, _ in ours(overlay):
            values = {v["name"]: v.get("value") for v in container.get("env", ())}
            loads = name in {"service/service", "vitlens/ray-head"}
            assert (signing.TRUSTED in values) == loads, name


def environment(overlay: str) -> dict[str, str]:
    return by_name(overlay)["ConfigMap", "vitlens-environment"]["data"]


def part_labels(template: Manifest) -> dict[str, str]:
    """The labels of the pods of a template; KubeRay adds those of a head."""
    labels = template["metadata"]["labels"]
    is_head = template["spec"]["containers"][0]["name"] == "ray-head"
    return {**labels, **HEAD_LABELS} if is_head else labels


def selects(selector: Manifest, labels: dict[str, str]) -> bool:
    if any(labels.get(k) != v for k, v in selector.get("matchLabels", {}).items()):
        return False
    return all(
        labels.get(each["key"]) in each["values"] for each in selector.get("matchExpressions", ())
    )


def rules_of(overlay: str, direction: str, labels: dict[str, str]) -> Iterator[Manifest]:
    """The rules of all policies that let pods with these labels out (`Egress`) or others in."""
    for manifest in render(overlay):
        if manifest["kind"] != "NetworkPolicy":
            continue
        spec = manifest["spec"]
        if direction in spec["policyTypes"] and selects(spec["podSelector"], labels):
            yield from spec.get(direction.lower(), ())


def ports_outside(overlay: str, labels: dict[str, str]) -> set[int]:
    """TCP ports of any address outside of the cluster that these pods reach."""
    return {
        port["port"]
        for rule in rules_of(overlay, "Egress", labels)
        if not any("podSelector" in peer for peer in rule.get("to", ()))
        for port in rule["ports"]
        if port.get("protocol", "TCP") == "TCP"
    }


def comes_in(overlay: str, source: dict[str, str], target: dict[str, str], port: int) -> bool:
    return any(
        any(selects(peer["podSelector"], source) for peer in rule["from"] if "podSelector" in peer)
        and ("ports" not in rule or port in {p["port"] for p in rule["ports"]})
        for rule in rules_of(overlay, "Ingress", target)
    )


@pytest.mark.parametrize("overlay", WHOLE)
def test_every_part_reaches_what_it_has_a_password_for(overlay: str) -> None:
    """In the cluster by the policy of the part that it asks, else by the ports outside."""
    addresses = {
        "AWS_SECRET_ACCESS_KEY": environment(overlay)["AWS_ENDPOINT_URL"],
        "MLFLOW_TRACKING_PASSWORD": environment(overlay)["MLFLOW_TRACKING_URI"],
        "RAY_AUTH_TOKEN": environment(overlay)["VITLENS_RAY_DASHBOARD"],
    }
    host, port = environment(overlay)["DAGSTER_PG_HOST"], environment(overlay)["DAGSTER_PG_PORT"]
    for name in ("DAGSTER_PG_PASSWORD", "PGPASSWORD"):
        addresses[name] = f"postgresql://{host}:{port}"
    inside = {
        t["metadata"]["labels"]["vitlens/part"]: part_labels(t) for _, t in templates(overlay)
    }
    asked = set()
    for manifest, template in templates(overlay):
        for container in template["spec"]["containers"]:
            held = {v["name"] for v in container.get("env", ()) if "valueFrom" in v}
            held |= {key for secret in of_secret(container) for key in secrets()[secret]}
            for password in held & addresses.keys():
                url = urlsplit(addresses[password])
                part = "ray" if url.hostname == "vitlens-head-svc" else str(url.hostname)
                number = url.port or 443
                labels = part_labels(template)
                where = (overlay, manifest["metadata"]["name"], password)
                if part in inside:
                    itself = labels["vitlens/part"] == part
                    assert itself or comes_in(overlay, labels, inside[part], number), where
                else:
                    assert number in ports_outside(overlay, labels), where
                asked.add((labels["vitlens/part"], part))
    assert {("service", "mlflow"), ("ray", "mlflow"), ("daemon", "ray")} <= asked


@pytest.mark.parametrize("overlay", WHOLE)
def test_rays_autoscaler_reaches_the_clusters_api_and_nobody_else_does(overlay: str) -> None:
    """By port alone: no block of addresses names the API server with every network plugin."""
    for _, template in templates(overlay):
        labels = part_labels(template)
        anywhere = {
            port["port"]
            for rule in rules_of(overlay, "Egress", labels)
            if "to" not in rule
            for port in rule["ports"]
        }
        if labels.get("ray.io/node-type") == "head":
            assert anywhere >= API_SERVER
        else:
            assert not ports_outside(overlay, labels) & API_SERVER - {443}


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_whoever_tells_of_runs_and_champions_has_the_receivers_and_reaches_a_mail_server(
    overlay: str,
) -> None:
    """Code tells of failed runs; whoever moves an alias tells of it: a run, on Ray's head."""
    for _, template in templates(overlay):
        [*_, container] = template["spec"]["containers"]
        tells = container["name"] in {"code", "ray-head"}
        variables = {v["name"]: v.get("valueFrom") for v in container.get("env", ())}
        assert ("VITLENS_NOTICES" in variables) == tells, container["name"]
        if tells:
            key = {"name": "vitlens-notices", "key": "path", "optional": True}
            assert variables["VITLENS_NOTICES"] == {"secretKeyRef": key}
            volume = volumes(template["spec"])[mounts(container)["/etc/vitlens/notices"]]
            assert volume["secret"]["secretName"] == "vitlens-notices"
        network = overlay if overlay != "jobs" else "overlays/cpu"
        reached = ports_outside(network, part_labels(template)) & MAIL
        assert reached == (MAIL if tells else set()), container["name"]


@pytest.mark.parametrize("overlay", CLUSTERS)
def test_no_pod_reaches_the_metadata_of_a_clouds_node(overlay: str) -> None:
    blocks = [
        peer["ipBlock"]
        for manifest in render(overlay)
        if manifest["kind"] == "NetworkPolicy"
        for rule in manifest["spec"].get("egress", ())
        for peer in rule.get("to", ())
        if "ipBlock" in peer
    ]
    excepted = {block["cidr"]: set(block["except"]) for block in blocks}
    assert "169.254.0.0/16" in excepted["0.0.0.0/0"]
    assert "fd00:ec2::254/128" in excepted["::/0"]
    # Its port is 80, which is therefore open to nobody by a rule without addresses.
    for _, template in templates(overlay):
        assert 80 not in ports_outside(overlay, part_labels(template))


def test_the_databases_port_is_stated_once(tmp_path: Path) -> None:
    change = ('DAGSTER_PG_PORT: "5432"', 'DAGSTER_PG_PORT: "6432"')
    manifests = changed(tmp_path, "overlays/gpu", "overlays/cpu/environment.yaml", change)
    text = yaml.safe_dump_all(manifests)
    assert "5432" not in text
    [outwards] = [m for m in manifests if m["metadata"]["name"] == "outwards"]
    assert [faults(m) for m in manifests if faults(m)] == []
    assert {"port": 6432} in outwards["spec"]["egress"][2]["ports"]
    for name, container, _ in ours("overlays/gpu"):
        held = {key for secret in of_secret(container) for key in secrets()[secret]}
        variables = {v["name"]: v.get("valueFrom") for v in container.get("env", ())}
        if "PGPASSWORD" in held:
            for variable, key in (("PGHOST", "DAGSTER_PG_HOST"), ("PGPORT", "DAGSTER_PG_PORT")):
                stated = {"name": "vitlens-environment", "key": key}
                assert variables[variable] == {"configMapKeyRef": stated}, name


@pytest.mark.parametrize("overlay", WHOLE)
def test_every_part_is_behind_a_policy_and_named_by_its_selector(overlay: str) -> None:
    found = by_name(overlay)
    assert found["NetworkPolicy", "deny"]["spec"] == {
        "podSelector": {},
        "policyTypes": ["Ingress", "Egress"],
    }
    labelled = [part_labels(template) for _, template in templates(overlay)]
    for (kind, name), manifest in found.items():
        if kind in {"Service", "ServiceMonitor", "PodMonitor", "PodDisruptionBudget"}:
            chosen = manifest["spec"]["selector"]
            chosen = chosen if "matchLabels" in chosen else {"matchLabels": chosen}
            assert any(selects(chosen, labels) for labels in labelled), (kind, name)
        if kind == "Service":
            assert ("NetworkPolicy", name) in found, name


@pytest.mark.parametrize("overlay", CLUSTERS)
def test_whatever_prometheus_is_to_read_carries_the_label_that_its_stack_selects(
    overlay: str,
) -> None:
    found = [m for m in render(overlay) if m["apiVersion"] == "monitoring.coreos.com/v1"]
    assert {m["kind"] for m in found} == {"ServiceMonitor", "PodMonitor", "PrometheusRule"}
    assert {m["metadata"]["labels"]["release"] for m in found} == {"kube-prometheus-stack"}
    stated = [p for p in (ROOT / "infra").rglob("*.yaml") if "release: kube-prom" in p.read_text()]
    assert [p.name for p in stated] == ["kustomization.yaml"]


@pytest.mark.parametrize("overlay", CLUSTERS)
def test_the_service_stands_in_no_cluster_before_somebody_asks_for_it(overlay: str) -> None:
    """It cannot start before there is a champion."""
    kinds = {kind for kind, name in by_name(overlay) if name == "service"}
    assert kinds == {"ServiceMonitor", "NetworkPolicy"}


@pytest.mark.parametrize("overlay", WHOLE)
def test_the_number_of_services_is_the_autoscalers_alone(overlay: str) -> None:
    found = by_name(overlay)
    scaled = found["HorizontalPodAutoscaler", "service"]["spec"]
    target = scaled["scaleTargetRef"]
    assert "replicas" not in found[target["kind"], target["name"]]["spec"]
    assert scaled["minReplicas"] == (1 if "local" in overlay else 2)


def test_the_service_is_asked_when_it_is_ready_and_never_away() -> None:
    found = by_name("overlays/cpu" + WITH)
    service = found["Deployment", "service"]["spec"]
    [container] = service["template"]["spec"]["containers"]
    assert container["readinessProbe"]["httpGet"]["path"] == "/ready"
    assert service["strategy"]["rollingUpdate"]["maxUnavailable"] == 0
    assert found["HorizontalPodAutoscaler", "service"]["spec"]["minReplicas"] >= 2
    assert found["PodDisruptionBudget", "service"]["spec"]["minAvailable"] == 1


def test_a_drain_waits_for_the_head_that_holds_the_runs() -> None:
    budget = by_name("overlays/cpu")["PodDisruptionBudget", "ray-head"]["spec"]
    assert budget["minAvailable"] == 1
    assert selects(budget["selector"], {"vitlens/part": "ray", **HEAD_LABELS})
    assert not selects(budget["selector"], {"vitlens/part": "ray", "ray.io/cluster": "vitlens"})
    for manifest in (*render("overlays/cpu"), *render("jobs")):
        for cluster in ray_clusters(manifest):
            noted = cluster["headGroupSpec"]["template"]["metadata"]["annotations"]
            assert noted == {"cluster-autoscaler.kubernetes.io/safe-to-evict": "false"}


def test_the_way_in_is_by_tls_and_asks_for_an_account_where_the_part_does_not() -> None:
    found = by_name("overlays/cpu" + WITH)
    ways = {name: m for (kind, name), m in found.items() if kind == "Ingress"}
    assert ways.keys() == {"webserver", "mlflow", "service"}
    for name, manifest in ways.items():
        [rule] = manifest["spec"]["rules"]
        assert manifest["spec"]["tls"] == [{"hosts": [rule["host"]], "secretName": "vitlens-tls"}]
        [path] = rule["http"]["paths"]
        backend = path["backend"]["service"]
        ports = found["Service", backend["name"]]["spec"]["ports"]
        assert backend["port"]["name"] in {port["name"] for port in ports}
        asks = "nginx.ingress.kubernetes.io/auth-secret" in manifest["metadata"]["annotations"]
        assert asks == (name == "webserver")
    # MLflow and the service refuse requests by names that they do not know.
    host = {name: m["spec"]["rules"][0]["host"] for name, m in ways.items()}
    variables = {
        v["name"]: v.get("value", "")
        for v in found["Deployment", "mlflow"]["spec"]["template"]["spec"]["containers"][0]["env"]
    }
    assert host["mlflow"] in variables["MLFLOW_SERVER_ALLOWED_HOSTS"].split(",")
    assert variables["MLFLOW_SERVER_CORS_ALLOWED_ORIGINS"] == f"https://{host['mlflow']}"
    [service] = found["Deployment", "service"]["spec"]["template"]["spec"]["containers"]
    assert f"--allow-host={host['service']}" in service["args"]
    assert environment("overlays/cpu")["VITLENS_DAGSTER_URL"] == f"https://{host['webserver']}"


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


def of_pod(spec: dict[str, Any], least: dict[str, Any]) -> Counter[str]:
    """What a pod counts for in a quota; `least`: what a container gets that states nothing."""

    def of(container: dict[str, Any]) -> Counter[str]:
        given = container.get("resources", {})
        limits = {"memory": least["default"]["memory"], **given.get("limits", {})}
        # A limit without a request is the request.
        requests = {
            **least["defaultRequest"],
            **given.get("limits", {}),
            **given.get("requests", {}),
        }
        return Counter(
            {
                "requests.cpu": quantity(requests["cpu"]),
                "requests.memory": quantity(requests["memory"]),
                "limits.memory": quantity(limits["memory"]),
                "requests.nvidia.com/gpu": quantity(requests.get("nvidia.com/gpu", "0")),
            }
        )

    together: Counter[str] = sum((of(c) for c in spec["containers"]), Counter())
    for container in spec.get("initContainers", ()):
        together |= of(container)  # one after another, before the others
    return together + Counter(pods=1)


def at_most(manifest: Manifest, scaled: dict[str, int], least: dict[str, Any]) -> Counter[str]:
    """What a manifest takes when everything in it is at its most, a rollout under way."""
    spec = manifest["spec"]
    total: Counter[str] = Counter()

    def add(pod: dict[str, Any], times: int) -> None:
        for name, amount in of_pod(pod, least).items():
            total[name] += times * amount

    for cluster in ray_clusters(manifest):
        head = copy.deepcopy(cluster["headGroupSpec"]["template"]["spec"])
        half = {"cpu": "500m", "memory": "512Mi"}  # of KubeRay's own container
        given = cluster.get("autoscalerOptions", {}).get("resources")
        head["containers"].append({"resources": given or {"requests": half, "limits": half}})
        add(head, 1)
        for group in cluster["workerGroupSpecs"]:
            add(group["template"]["spec"], group["maxReplicas"])
    if manifest["kind"] in KEEPS:
        replicas = scaled.get(manifest["metadata"]["name"]) or spec["replicas"]
        rolls = (
            manifest["kind"] == "Deployment" and spec.get("strategy", {}).get("type") != "Recreate"
        )
        surge = spec.get("strategy", {}).get("rollingUpdate", {}).get("maxSurge", -(-replicas // 4))
        add(spec["template"]["spec"], replicas + (surge if rolls else 0))
        total["persistentvolumeclaims"] += replicas * len(spec.get("volumeClaimTemplates", ()))
    if manifest["kind"] == "Job":
        add(spec["template"]["spec"], 1)
    if manifest["kind"] == "CronJob":  # and the one that somebody starts before an upgrade
        add(spec["jobTemplate"]["spec"]["template"]["spec"], 2)
    total["persistentvolumeclaims"] += manifest["kind"] == "PersistentVolumeClaim"
    return total


def everything(overlay: str) -> Counter[str]:
    """An overlay at its most, and beside it the larger of the runs on clusters of their own."""
    manifests = render(overlay)
    least = by_name(overlay)["LimitRange", "vitlens"]["spec"]["limits"][0]
    scaled = {
        m["spec"]["scaleTargetRef"]["name"]: m["spec"]["maxReplicas"]
        for m in manifests
        if m["kind"] == "HorizontalPodAutoscaler"
    }
    shared = [at_most(m, scaled, least) for m in manifests if "spec" in m]
    total: Counter[str] = sum(shared, Counter())
    if "gpu" in overlay:
        total += at_most(by_name("jobs")["RayJob", "point-cloud-full"], {}, least)
    return total


@pytest.mark.parametrize("overlay", WHOLE)
def test_everything_at_its_most_fits_the_quota(overlay: str) -> None:
    hard = by_name(overlay)["ResourceQuota", "vitlens"]["spec"]["hard"]
    taken = everything(overlay)
    assert taken.keys() <= hard.keys()
    for name, amount in taken.items():
        assert 0 < amount <= quantity(hard[name]), name
    if "gpu" in overlay:  # the largest: more than a tenth above it would be no limit
        assert taken.keys() == hard.keys()
        for name in taken.keys() - {"pods", "persistentvolumeclaims"}:
            assert quantity(hard[name]) <= 1.1 * taken[name], name


def locked(package: str) -> str:
    lock = (ROOT / "requirements.lock").read_text()
    [version] = re.findall(rf"^{package}==([^ ;\\]+)", lock, re.MULTILINE)
    return version


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_the_versions_are_those_of_the_lock_and_of_the_project(overlay: str) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    variant = "cuda" if overlay == "jobs" or "gpu" in overlay else "cpu"
    images = {container["image"] for _, container, _ in ours(overlay)}
    assert images == {f"vitlens:{project}-{variant}"}
    for manifest in render(overlay):
        for cluster in ray_clusters(manifest):
            assert cluster["rayVersion"] == locked("ray")


def test_a_changed_template_does_not_leave_the_former_pods_of_ray() -> None:
    for overlay in CLUSTERS:
        spec = by_name(overlay)["RayCluster", "vitlens"]["spec"]
        assert spec["upgradeStrategy"] == {"type": "Recreate"}


def test_an_upgrade_ends_what_runs_before_tables_change() -> None:
    text = PAGE.read_text()
    steps = text[text.index("## Upgrade") :]
    [commands] = re.findall(r"```bash\n(.*?)```", steps, re.DOTALL)[:1]
    order = [
        "scale deployment daemon",
        "create job --from=cronjob/backup",
        "wait --for=condition=complete",
        "scale deployment mlflow",
        "delete raycluster vitlens",
        "delete job migrate",
        "apply -k",
    ]
    places = [commands.index(command) for command in order]
    assert places == sorted(places)
    found = by_name("overlays/cpu")
    for name in re.findall(r"scale deployment ([\w ]+?) --", commands):
        assert all(("Deployment", each) in found for each in name.split())


def test_the_rules_of_the_operator_are_those_that_are_tested() -> None:
    assert WRITTEN.read_text() == as_resource(), "run .venv/bin/python -m infra.kubernetes.rules"


@pytest.mark.parametrize("name", ["point-cloud-full", "point-cloud-nightly"])
def test_a_job_of_its_own_begins_again_unless_it_would_end_so_again(name: str) -> None:
    found = {m["metadata"]["name"]: m["spec"] for m in render("jobs")}
    job = found[name].get("jobTemplate", found[name])
    assert job["backoffLimit"] > 0
    assert job["shutdownAfterJobFinishes"] is True
    for code, ends_with in ((0, 0), (1, 0), (2, 0), (3, 3), (137, 137)):
        command = re.sub(
            r"vitlens run point_cloud --profile \w+", f"(exit {code})", job["entrypoint"]
        )
        assert command != job["entrypoint"]
        assert subprocess.run(["sh", "-c", command], check=False).returncode == ends_with
