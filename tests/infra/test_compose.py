"""The team's server: its compose file against the published schema, and what it promises."""

from __future__ import annotations

import copy
import json
import subprocess
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from tests.conftest import ROOT

COMPOSE = ROOT / "infra" / "compose"
SCHEMA = json.loads(
    (files("check_jsonschema.builtin_schemas.vendor") / "compose-spec.json").read_text()
)
STACK = yaml.safe_load((COMPOSE / "compose.yaml").read_text())
SERVICES: dict[str, dict[str, Any]] = STACK["services"]
ONE_SHOT = {"prepare", "backup"}


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


def test_the_files_of_configs_are_there_and_secrets_are_made_by_the_script(tmp_path: Path) -> None:
    assert all((COMPOSE / config["file"]).is_file() for config in STACK["configs"].values())
    script = tmp_path / "secrets.sh"
    script.write_text((COMPOSE / "secrets.sh").read_text())
    for _ in range(2):
        subprocess.run(["bash", script], check=True)
        made = {p.name: p.read_text() for p in (tmp_path / "secrets").iterdir()}
        assert {f"secrets/{name}" for name in made} == {
            secret["file"] for secret in STACK["secrets"].values()
        }
    assert (tmp_path / "secrets").stat().st_mode & 0o777 == 0o700
    random = {name: text for name, text in made.items() if name != "mlflow_reader"}
    assert len(set(random.values())) == len(random)
    assert (
        made["store_key"]
        in json.loads(made["store_identities"])["identities"][0]["credentials"][0].values()
    )


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
    assert len(published) == 4
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


def test_what_prometheus_asks_is_a_part_of_the_stack() -> None:
    scraped = yaml.safe_load((COMPOSE / "prometheus.yaml").read_text())["scrape_configs"]
    targets = [t for job in scraped for config in job["static_configs"] for t in config["targets"]]
    assert {target.partition(":")[0] for target in targets} <= SERVICES.keys()
