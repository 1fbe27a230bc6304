"""The names by which parts and people reach MLflow are names that it answers to, and no others.

Of a browser it asks two: the name in `Host`, and in `Origin` that of the page that wants a change.
"""

from __future__ import annotations

from urllib.parse import urlsplit

import pytest
import yaml
from mlflow.server.security_utils import is_allowed_host_header, should_block_cors_request

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


def test_the_page_of_mlflow_may_change_things_behind_the_proxy() -> None:
    """Compose fills the proxy's name in; here its default stands for it."""
    services = yaml.safe_load((ROOT / "infra/compose/compose.yaml").read_text())["services"]
    given = services["mlflow"]["environment"]
    hosts, origins = (
        given[name].replace("${MLFLOW_HOST:-mlflow.example.com}", "mlflow.team.example").split(",")
        for name in ("MLFLOW_SERVER_ALLOWED_HOSTS", "MLFLOW_SERVER_CORS_ALLOWED_ORIGINS")
    )
    assert is_allowed_host_header(hosts, "mlflow.team.example")
    assert not should_block_cors_request("https://mlflow.team.example", "POST", origins)
    assert not should_block_cors_request("http://127.0.0.1:5000", "POST", origins)
    for other in ("https://attacker.example", "https://mlflow.team.example.attacker.example"):
        assert should_block_cors_request(other, "POST", origins)
