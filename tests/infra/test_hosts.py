"""The names by which parts reach MLflow are names that MLflow answers to: it refuses others."""

from __future__ import annotations

from urllib.parse import urlsplit

import pytest
import yaml
from mlflow.server.security_utils import is_allowed_host_header

from tests.conftest import ROOT
from tests.infra.manifests import render


def in_compose() -> tuple[str, str]:
    """The address that parts use, and the names that MLflow takes."""
    services = yaml.safe_load((ROOT / "infra/compose/compose.yaml").read_text())["services"]
    address = services["code"]["environment"]["MLFLOW_TRACKING_URI"]
    return address, services["mlflow"]["environment"]["MLFLOW_SERVER_ALLOWED_HOSTS"]


def in_kubernetes() -> tuple[str, str]:
    found = {(m["kind"], m["metadata"]["name"]): m for m in render("overlays/cpu")}
    [container] = found["Deployment", "mlflow"]["spec"]["template"]["spec"]["containers"]
    names = {variable["name"]: variable.get("value", "") for variable in container["env"]}
    address = found["ConfigMap", "vitlens-environment"]["data"]["MLFLOW_TRACKING_URI"]
    return address, names["MLFLOW_SERVER_ALLOWED_HOSTS"]


@pytest.mark.parametrize("place", [in_compose, in_kubernetes])
def test_mlflow_answers_by_the_name_that_parts_use(place) -> None:
    address, allowed = place()
    assert is_allowed_host_header(allowed.split(","), urlsplit(address).netloc)
    assert not is_allowed_host_header(allowed.split(","), "attacker.example")
