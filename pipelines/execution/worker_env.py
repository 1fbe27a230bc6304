"""worker_env: what the workers of a joined cluster receive of the driver: its code, some variables.

Promises  workers run the code of the driver, whatever their image has. Only variables of a fixed
          list are sent, and none whose value holds a password: Ray shows and logs what is sent.
          Credentials of stores and registries stay what the nodes are given by their own means.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import pipelines
import vitlens_core
from pipelines.store.text import redacted

# What changes how workers log and where they look, and is no secret by its kind.
SENT = (
    "VITLENS_LOG",
    "VITLENS_USER",
    "VITLENS_CODE_REVISION",
    "AWS_DEFAULT_REGION",
    "AWS_ENDPOINT_URL",
    "AWS_REGION",
    "HF_ENDPOINT",
    "HF_HUB_OFFLINE",
)
# Set by Ray in a job that was submitted to the cluster: it runs on the cluster's own image, and
# Ray refuses a second environment beside that of the job.
_SUBMITTED = "RAY_JOB_CONFIG_JSON_ENV_VAR"
_PACKAGES = (vitlens_core, pipelines)


def runtime_env(environment: Mapping[str, str] = os.environ) -> dict[str, object]:
    """Return Ray's `runtime_env` for the workers of a joined cluster."""
    if _SUBMITTED in environment:
        return {}
    return {
        "py_modules": [str(Path(str(package.__file__)).parent) for package in _PACKAGES],
        "excludes": ["__pycache__"],
        "env_vars": variables(environment),
    }


def variables(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that are sent; one whose value holds a password is left out."""
    listed = {name: environment[name] for name in SENT if name in environment}
    return {name: value for name, value in listed.items() if redacted(value) == value}
