"""The team's server: its compose file against the published schema, and what it promises."""

from __future__ import annotations

import copy
import graphlib
import json
import re
import subprocess
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path, PurePosixPath
from typing import Any

import jsonschema
import pytest
import yaml

from infra.config.accounts import ACCOUNTS
from infra.local.debian import MissingError, program
from pipelines.service.config import Limits
from tests.conftest import ROOT
from tests.docs.pages import blocks

COMPOSE = ROOT / "infra" / "compose"
PAGE = ROOT / "docs" / "deployment" / "server.md"
SCHEMA = json.loads(
    (files("check_jsonschema.builtin_schemas.vendor") / "compose-spec.json").read_text()
)
STACK = yaml.safe_load((COMPOSE / "compose.yaml").read_text())
SERVICES: dict[str, dict[str, Any]] = STACK["services"]
OURS = sorted(name for name, each in SERVICES.items() if "VITLENS_IMAGE" in each["image"])
ONE_SHOT = {"prepare", "accounts", "backup"}
# What a healthcheck may call as it is: none of these needs a secret. Ray reads its token itself.
WITHOUT_SECRETS = {"wget", "pg_isready", "ray health-check", "dagster api grpc-health-check"}
# What each part may do in the object store.
READS, WRITES = ("Read:{}", "List:{}"), ("Read:{}", "Write:{}", "List:{}")
RIGHTS = {
    "prepare": ["Admin"],
    "code": [right.format("vitlens") for right in WRITES],
    "ray-head": [right.format("vitlens") for right in WRITES],
    "service": [right.format("vitlens") for right in READS],
    "exporter": [right.format("vitlens") for right in READS],
    "mlflow": [right.format("mlflow") for right in WRITES],
    "backup": [
        *(right.format("mlflow") for right in WRITES),
        "Write:vitlens/artifacts/last_backup.json*",
    ],
}
_LONGEST_SOCKET = 107  # characters, of Unix


def faults(stack: dict[str, Any]) -> list[str]:
    validator = jsonschema.validators.validator_for(SCHEMA)(SCHEMA)
    return [f"{error.json_path}: {error.message}" for error in validator.iter_errors(stack)]


def mentioned(kind: str) -> Iterator[tuple[str, str]]:
    """A service, and a config, secret, network or volume that it names."""
    for name, service in SERVICES.items():
        for entry in service.get(kind, ()):
            if kind == "volumes":
                yield name, entry.partition(":")[0]
            else:
                yield name, entry["source"] if isinstance(entry, dict) else entry


def test_the_file_fits_the_schema_of_compose() -> None:
    assert faults(STACK) == []


@pytest.mark.parametrize(
    ("path", "wrong"),
    [
        (("services", "mlflow", "helthcheck"), {}),
        (("services", "code", "depends_on"), {"ray-head": {"condition": "service_fine"}}),
        (("secrets", "postgres"), {"fil": "x"}),
        (("networks", "data"), {"internal": {}}),
    ],
)
def test_a_wrong_field_is_found(path: tuple[str, ...], wrong: object) -> None:
    broken = copy.deepcopy(STACK)
    *above, last = path
    place = broken
    for name in above:
        place = place[name]
    place[last] = wrong
    assert faults(broken)


@pytest.mark.parametrize("kind", ["configs", "secrets", "networks", "volumes"])
def test_what_services_name_is_declared_and_used(kind: str) -> None:
    named = {name for _, name in mentioned(kind)}
    assert named == STACK[kind].keys()


@pytest.fixture(scope="module")
def secrets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the script makes, called twice."""
    folder = tmp_path_factory.mktemp("compose")
    (folder / "secrets.sh").write_text((COMPOSE / "secrets.sh").read_text())
    kept: list[dict[str, str]] = []
    for _ in range(2):
        subprocess.run(["bash", folder / "secrets.sh"], check=True)
        kept.append({path.name: path.read_text() for path in (folder / "secrets").iterdir()})
    assert kept[0] == kept[1]
    return folder / "secrets"


def test_the_files_of_configs_are_there_and_secrets_are_made_by_the_script(secrets: Path) -> None:
    assert all((COMPOSE / config["file"]).is_file() for config in STACK["configs"].values())
    made = {path.name: path.read_text() for path in secrets.iterdir()}
    assert {f"secrets/{name}" for name in made} == {
        secret["file"] for secret in STACK["secrets"].values()
    }
    assert secrets.stat().st_mode & 0o777 == 0o700
    assert len(set(made.values())) == len(made)
    # Each is mounted by itself, and read by a user whom this machine does not know.
    assert all(path.stat().st_mode & 0o444 == 0o444 for path in secrets.iterdir())


def test_each_part_has_its_own_account_of_the_store_with_no_more_than_it_needs(
    secrets: Path,
) -> None:
    known = json.loads((secrets / "store_identities").read_text())["identities"]
    accounts = {each["credentials"][0]["accessKey"]: each for each in known}
    assert len(accounts) == len(known)
    may = {}
    for name, service in SERVICES.items():
        given = service.get("environment", {})
        if "AWS_ACCESS_KEY_ID" not in given:
            continue
        account = accounts[given["AWS_ACCESS_KEY_ID"]]
        file = PurePosixPath(given["AWS_SECRET_ACCESS_KEY_FROM"]).name
        assert account["credentials"][0]["secretKey"] == (secrets / file).read_text()
        may[name] = sorted(account["actions"])
    assert may == {name: sorted(rights) for name, rights in RIGHTS.items()}


def test_the_store_shows_others_nothing_but_s3() -> None:
    """SeaweedFS' other servers ask nobody who they are."""
    command = SERVICES["store"]["command"]
    assert {"-ip.bind=127.0.0.1", "-ip=127.0.0.1", "-s3.ip.bind=0.0.0.0"} <= set(command)
    assert "-volume.max=0" in command
    # S3's own port for new identities: whoever asks there needs a certificate.
    assert {"WEED_GRPC_CA", "WEED_GRPC_S3_CERT", "WEED_GRPC_S3_KEY"} == SERVICES["store"][
        "environment"
    ].keys()


def test_the_admins_of_mlflow_and_the_store_are_no_part_that_works() -> None:
    holders: dict[str, set[str]] = {}
    for name, secret in mentioned("secrets"):
        holders.setdefault(secret, set()).add(name)
    assert holders["mlflow_admin"] == {"mlflow", "accounts"}
    assert holders["store_key"] == {"prepare"}
    assert holders["postgres"] == {"postgres", "backup"}


def test_parts_have_the_accounts_of_mlflow_that_are_made() -> None:
    made = SERVICES["accounts"]["environment"]
    files = {account: made[f"PASSWORD_OF_{account.upper()}_FROM"] for account in ACCOUNTS}
    assert len([name for name in made if name.startswith("PASSWORD_OF_")]) == len(files)
    files["admin"] = made["MLFLOW_TRACKING_PASSWORD_FROM"]
    used = set()
    for name, service in SERVICES.items():
        given = service.get("environment", {})
        if account := given.get("MLFLOW_TRACKING_USERNAME"):
            assert given["MLFLOW_TRACKING_PASSWORD_FROM"] == files[account], name
            used.add(account)
    assert used == files.keys()


def targets(name: str, *kinds: str) -> list[PurePosixPath]:
    """Where a service's volumes, configs, secrets or tmpfs are mounted."""
    places = {
        "volumes": lambda entry: entry.split(":")[1],
        "configs": lambda entry: entry["target"],
        "secrets": lambda entry: f"/run/secrets/{entry}",
        "tmpfs": lambda entry: entry.partition(":")[0],
    }
    service = SERVICES[name]
    return [PurePosixPath(places[kind](e)) for kind in kinds for e in service.get(kind, ())]


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_no_file_is_mounted_into_a_folder_that_is_written_to(name: str) -> None:
    """The runtime would make the folders above it as root, in the volume, and for good."""
    written = targets(name, "volumes", "tmpfs")
    for mounted in targets(name, "configs", "secrets"):
        assert not any(mounted.is_relative_to(folder) for folder in written), mounted
    assert not any(a != b and a.is_relative_to(b) for a in written for b in written)


def test_the_key_that_signs_lies_where_runs_do() -> None:
    """Dagster's page has no accounts, and the daemon nothing to sign."""
    holders = {name for name in OURS for v in SERVICES[name].get("volumes", ()) if "home:" in v}
    assert holders == {"code", "ray-head", "backup"}


def test_what_our_image_writes_to_is_a_folder_of_its_user() -> None:
    """A new volume takes its owner from the image's folder; without one it is root's."""
    script = (ROOT / "infra/image/steps.sh").read_text().removesuffix('"$@"\n')
    show = f"{script}\nprintf '%s\\n' \"${{FOLDERS[@]}}\""
    made = subprocess.run(["bash", "-c", show], capture_output=True, text=True, check=True)
    used = {str(target) for name in OURS for target in targets(name, "volumes")}
    assert used == set(made.stdout.split())
    assert all(SERVICES[name]["read_only"] for name in OURS)


@pytest.mark.parametrize("name", OURS)
def test_large_temporary_files_have_a_disk_of_their_own(name: str) -> None:
    service = SERVICES[name]
    scratch = service.get("environment", {}).get("TMPDIR")
    large = {"ray-head", "mlflow", "service", "backup"}
    assert (scratch is not None) == (name in large)
    if scratch:
        [volume] = [v for v in service["volumes"] if v.endswith(f":{scratch}")]
        assert sum(volume in each.get("volumes", ()) for each in SERVICES.values()) == 1


def test_the_sockets_of_ray_have_paths_that_unix_takes() -> None:
    head = SERVICES["ray-head"]
    [folder] = [word.partition("=")[2] for word in head["command"] if "--temp-dir=" in word]
    assert folder.startswith(head["environment"]["TMPDIR"] + "/")
    session = "session_2026-11-29_05-31-07_201123_1234567"
    assert len(f"{folder}/{session}/sockets/plasma_store.12") <= _LONGEST_SOCKET
    assert head["command"][0] == "/opt/image/fresh"  # Ray leaves the sessions of killed nodes


def test_dagster_finds_its_settings_where_the_entrypoint_takes_them_from() -> None:
    entrypoint = (ROOT / "infra/image/entrypoint").read_text()
    [source] = re.findall(r"^settings=(\S+)$", entrypoint, flags=re.M)
    with_dagster = {n for n in OURS if "DAGSTER_HOME" in SERVICES[n].get("environment", {})}
    assert {"code", "ray-head", "daemon", "webserver", "exporter", "prepare"} == with_dagster
    for name in with_dagster:
        assert PurePosixPath(source, "dagster.yaml") in targets(name, "configs")
    for name in ("daemon", "webserver"):
        workspace = PurePosixPath(SERVICES[name]["command"][-1])
        assert workspace in targets(name, "configs")


@pytest.mark.parametrize("name", sorted(SERVICES.keys() - ONE_SHOT))
def test_a_healthcheck_that_needs_a_secret_goes_through_the_entrypoint(name: str) -> None:
    """Docker calls it beside the command, without what the entrypoint has exported."""
    kind, *command = SERVICES[name]["healthcheck"]["test"]
    assert kind == "CMD"
    if command[0] != "/opt/image/entrypoint":
        called = " ".join(command)
        assert any(called.startswith(f"{known} ") for known in WITHOUT_SECRETS), called
    else:
        assert name in OURS


def test_parts_wait_for_each_other_in_an_order() -> None:
    order = {name: set(service.get("depends_on", ())) for name, service in SERVICES.items()}
    assert list(graphlib.TopologicalSorter(order).static_order())
    for service in SERVICES.values():
        for other, how in service.get("depends_on", {}).items():
            ends = other in ONE_SHOT
            assert how["condition"] == f"service_{'completed_successfully' if ends else 'healthy'}"


def test_gpus_are_given_to_what_computes() -> None:
    gpus = yaml.safe_load((COMPOSE / "gpu.yaml").read_text())
    assert faults(gpus) == []
    assert gpus["services"].keys() == {"ray-head", "service"}
    for added in gpus["services"].values():
        [device] = added["deploy"]["resources"]["reservations"]["devices"]
        # What steps.sh prepares the image for: EGL beside CUDA.
        assert {"gpu", "compute", "graphics"} <= set(device["capabilities"])
    assert "--num-gpus=${RAY_GPUS:-0}" in SERVICES["ray-head"]["command"]


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_every_part_is_pinned_hardened_and_watched(name: str) -> None:
    service = SERVICES[name]
    image = service["image"].removeprefix("${VITLENS_IMAGE:-").removesuffix("}")
    tag = image.partition(":")[2]
    assert tag, f"{image} has no tag"
    assert any(digit in tag for digit in "0123456789")
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert name in ONE_SHOT or service["healthcheck"]["test"]
    assert service["restart"] == ("no" if name in ONE_SHOT else "unless-stopped")


def test_nothing_is_published_beyond_loopback() -> None:
    published = [port for service in SERVICES.values() for port in service.get("ports", ())]
    assert len(published) == 6
    assert all(port.startswith("127.0.0.1:") for port in published)


def test_a_secret_is_named_by_file_and_mounted_where_it_is_named() -> None:
    words = ("PASSWORD", "SECRET", "TOKEN", "KEY")
    for name, service in SERVICES.items():
        mounted = {f"/run/secrets/{secret}" for secret in service.get("secrets", ())}
        for variable, value in service.get("environment", {}).items():
            if str(value).startswith("/run/secrets/"):
                assert value in mounted, f"{name}: {variable}"
            elif any(word in variable for word in words):
                assert variable in {"AWS_ACCESS_KEY_ID"}, f"{name}: {variable} is no file"


def test_the_databases_and_the_store_are_reached_by_nobody_outside() -> None:
    assert STACK["networks"]["data"] == {"internal": True}
    assert SERVICES["postgres"]["networks"] == ["data"]
    assert SERVICES["store"]["networks"] == ["data"]


def test_what_prometheus_asks_and_tells_is_a_part_of_the_stack() -> None:
    settings = yaml.safe_load((COMPOSE / "prometheus.yaml").read_text())
    told = settings["alerting"]["alertmanagers"]
    for job in (*settings["scrape_configs"], *told):
        for found in job.get("static_configs", ()):
            for name in (target.partition(":")[0] for target in found["targets"]):
                assert "profiles" not in SERVICES[name], f"{name} is missing until it is started"
        for found in job.get("dns_sd_configs", ()):
            assert set(found["names"]) <= SERVICES.keys()
    [job] = [job for job in settings["scrape_configs"] if "dns_sd_configs" in job]
    address = {r["target_label"]: r["replacement"] for r in job["relabel_configs"]}["__address__"]
    name, _, port = address.partition(":")
    assert f"--allow-host={name}" in SERVICES[name]["command"]
    assert any(published.endswith(f":{port}") for published in SERVICES[name]["ports"])


def debian(name: str, package: str, inside: str = "usr/bin") -> Path:
    try:
        return program(name, package, inside)
    except MissingError as missing:
        pytest.skip(str(missing))


@pytest.mark.slow
def test_prometheus_takes_its_settings() -> None:
    check = [debian("promtool", "prometheus"), "check", "config", "--syntax-only"]
    done = subprocess.run([*check, COMPOSE / "prometheus.yaml"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def example(language: str, having: str) -> str:
    """The one example of the server's page that has a word."""
    [found] = [body for body in blocks(PAGE, language) if having in body]
    return found


@pytest.mark.slow
def test_alertmanager_takes_the_shipped_receivers_and_those_of_the_page(
    secrets: Path, tmp_path: Path
) -> None:
    amtool = debian("amtool", "prometheus-alertmanager")
    shown, broken = tmp_path / "alertmanager.yaml", tmp_path / "broken.yaml"
    shown.write_text(example("yaml", "receivers:"))
    broken.write_text(shown.read_text().replace("receiver: team", "receiver: nobody"))
    for path, is_right in [(secrets / "alertmanager.yaml", 1), (shown, 1), (broken, 0)]:
        done = subprocess.run([amtool, "check-config", path], capture_output=True, text=True)
        assert (done.returncode == 0) == is_right, done.stdout + done.stderr


def test_the_proxy_of_the_page_takes_what_the_parts_take(tmp_path: Path) -> None:
    proxy = example("nginx", "server_name")
    servers = dict(re.findall(r"server_name (\S+);.*?proxy_pass (\S+);", proxy, flags=re.S))
    published = {
        f"http://{port.rpartition(':')[0]}": name
        for name, service in SERVICES.items()
        for port in service.get("ports", ())
    }
    assert {published[address] for address in servers.values()} == {
        "webserver",
        "mlflow",
        "service",
    }
    names = {published[address]: name for name, address in servers.items()}
    assert f"MLFLOW_HOST:-{names['mlflow']}" in (COMPOSE / "compose.yaml").read_text()
    assert f"VITLENS_HOST:-{names['service']}" in (COMPOSE / "compose.yaml").read_text()
    sizes = re.findall(r"client_max_body_size (\d+)m?;", proxy)
    assert [int(size) for size in sizes] == [0, Limits().body_mb]  # MLflow: any


@pytest.mark.slow
def test_nginx_takes_the_proxy_of_the_page(tmp_path: Path) -> None:
    nginx = debian("nginx", "nginx", "usr/sbin")
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    made = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=example.com"]
    made += ["-keyout", str(key), "-out", str(certificate)]
    subprocess.run(made, check=True, capture_output=True)
    proxy = example("nginx", "server_name")
    proxy = re.sub(r"(ssl_certificate_key +)\S+;", rf"\1{key};", proxy)
    proxy = re.sub(r"(ssl_certificate +)\S+;", rf"\1{certificate};", proxy)
    assert "listen 443 ssl;" in proxy
    proxy = proxy.replace("listen 443 ssl;", f"listen unix:{tmp_path}/socket ssl;")
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    folders = "".join(f"{kind}_temp_path {tmp_path}/{kind};" for kind in kinds)
    whole = tmp_path / "nginx.conf"
    started = f"pid {tmp_path}/pid; events {{}} http {{ access_log off; {folders}"
    whole.write_text(f"{started} {proxy} }}")
    done = subprocess.run(
        [nginx, "-t", "-p", tmp_path, "-e", tmp_path / "log", "-c", whole],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
