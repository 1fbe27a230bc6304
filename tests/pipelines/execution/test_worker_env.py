"""What a joined cluster's workers receive: the driver's code, listed variables, and no secret."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from pipelines.execution.worker_env import SENT, runtime_env, variables

SECRETS = (
    *("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "HF_TOKEN"),
    *("MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN", "MLFLOW_TRACKING_URI", "RAY_AUTH_TOKEN"),
    *("VITLENS_DATABASES", "VITLENS_SIGNING_KEY", "VITLENS_TOKEN", "VITLENS_TOKEN_FILE"),
    *("VITLENS_STORE", "VITLENS_HOME", "VITLENS_NOTICES", "PATH", "SOMETHING_NEW"),
)
PASSWORDS = (
    "https://me:word@store.example",
    "https://store.example/?token=word",
    "http://store.example/x?a=b&AWSSecretKey=word",
)


def test_only_listed_variables_are_sent() -> None:
    environment = dict.fromkeys((*SECRETS, *SENT), "https://store.example:9000")
    assert variables(environment) == dict.fromkeys(SENT, "https://store.example:9000")
    assert variables({}) == {}


@pytest.mark.parametrize("name", SENT)
@pytest.mark.parametrize("value", PASSWORDS)
def test_a_value_with_a_password_stays_here(name: str, value: str) -> None:
    assert variables({name: value}) == {}


def test_the_code_of_the_driver_is_sent() -> None:
    sent = runtime_env({})["py_modules"]
    assert isinstance(sent, list)
    assert [Path(folder).name for folder in sent] == ["vitlens_core", "pipelines"]
    assert all(Path(folder, "__init__.py").is_file() for folder in sent)


def test_a_submitted_job_keeps_the_environment_that_it_was_submitted_with() -> None:
    assert runtime_env({"RAY_JOB_CONFIG_JSON_ENV_VAR": "{}", "VITLENS_LOG": "json"}) == {}


@pytest.mark.nightly
@pytest.mark.timeout(240)
def test_workers_of_a_joined_cluster_run_the_drivers_code() -> None:
    """In a process of its own; the package that is sent is not on the workers' path."""
    command = [sys.executable, "-m", "tests.pipelines.execution.on_joined_cluster"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.splitlines()[-1] == "sent: travelled, json, no token"
