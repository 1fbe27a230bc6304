"""The steps of a restore, as docs/deployment/operation.md tells them: they stop whoever uses the
databases, and make a job that the cluster takes."""

from __future__ import annotations

import json
import re
import subprocess
from typing import Any

import yaml

from tests.conftest import ROOT
from tests.docs.pages import shell_lines
from tests.infra.manifests import faults, render

PAGE = ROOT / "docs" / "deployment" / "operation.md"
LINES = [*shell_lines(PAGE)]
OF_POSTGRES = {"postgres", "postgres_dagster", "postgres_mlflow"}
PASSWORDS = {"DAGSTER_PG_PASSWORD", "PGPASSWORD"}


def line(*words: str) -> list[str]:
    """The one command of the page that has all of the words."""
    [found] = [each for each in LINES if set(words) <= set(each)]
    return found


def test_on_a_server_whoever_uses_a_database_is_stopped() -> None:
    services = yaml.safe_load((ROOT / "infra/compose/compose.yaml").read_text())["services"]
    users = {name for name, each in services.items() if OF_POSTGRES & {*each.get("secrets", ())}}
    stop = line("docker", "stop")
    stopped = set(stop[stop.index("stop") + 1 :])
    assert stopped == users - {"postgres", "prepare", "backup"}  # those two end by themselves


def test_in_a_cluster_whoever_uses_a_database_is_stopped() -> None:
    script = (ROOT / "infra/kubernetes/secrets.sh").read_text().replace("\\\n", " ")
    holders = {
        name
        for name, keys in re.findall(r"^secret (\S+) (.*)$", script, flags=re.M)
        if PASSWORDS & set(keys.split())
    }
    assert "vitlens-dagster" in holders
    users = set()
    for manifest in render("overlays/cpu"):
        if manifest["kind"] == "Deployment":
            [container] = manifest["spec"]["template"]["spec"]["containers"]
            sources = container.get("envFrom", ())
            if holders & {source.get("secretRef", {}).get("name") for source in sources}:
                users.add(manifest["metadata"]["name"])
    scale = line("kubectl", "scale", "deployment", "mlflow", "exporter", "--replicas", "0")
    stopped = {word for word in scale if word in users}
    assert users
    assert stopped == users
    assert line("kubectl", "delete", "raycluster", "vitlens")


def test_the_job_that_restores_is_that_of_the_backup_with_other_arguments() -> None:
    """As kubectl makes it of the CronJob, and patches it without a cluster."""
    [cronjob] = [m for m in render("overlays/cpu") if m["kind"] == "CronJob"]
    spec: dict[str, Any] = cronjob["spec"]["jobTemplate"]["spec"]
    metadata = {"name": "restore", "namespace": "vitlens"}
    job = {"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": spec}
    patch = [word for word in line("kubectl", "patch", "--local") if word != "|"]
    done = subprocess.run(patch, input=json.dumps(job), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    patched = json.loads(done.stdout)
    [container] = patched["spec"]["template"]["spec"]["containers"]
    assert container.pop("args") == ["vitlens", "restore", "/backup/20261129-013000"]
    [former] = spec["template"]["spec"]["containers"]
    assert container == {name: value for name, value in former.items() if name != "args"}
    patched["spec"]["template"]["spec"]["containers"][0]["args"] = ["vitlens"]
    assert faults(patched) == []
    assert line(
        "kubectl", "create", "job", "restore", "--from", f"cronjob/{cronjob['metadata']['name']}"
    )
