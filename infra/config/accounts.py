"""Makes MLflow's accounts of the parts of a deployment; run with the account of the admin.

Each part has an account of its own, so that none is the admin. Those that read get no more than
everybody (`default_permission` of basic_auth.ini); runs manage all experiments and registered
models, also those that people have made. A password that was changed in its file is changed here.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING

from mlflow.exceptions import MlflowException

if TYPE_CHECKING:
    from mlflow.server.auth.client import AuthServiceClient

ACCOUNTS = ("runs", "service", "exporter")
MANAGED = {"runs": ("experiment", "registered_model")}


def make(client: AuthServiceClient, name: str, password: str) -> None:
    """Make an account, or give the one of this name its password and rights."""
    if not _made(lambda: client.create_user(name, password)):
        client.update_user_password(name, password)
    for kind in MANAGED.get(name, ()):
        _made(lambda kind=kind: client.grant_user_permission(name, kind, "*", "MANAGE"))


def _made(call: Callable[[], object]) -> bool:
    """Whether a call made something; False if it was there."""
    try:
        call()
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
        return False
    return True


def main() -> None:
    from mlflow.server.auth.client import AuthServiceClient  # late: it brings the whole server

    admin = AuthServiceClient(os.environ["MLFLOW_TRACKING_URI"])
    for account in ACCOUNTS:
        make(admin, account, os.environ[f"PASSWORD_OF_{account.upper()}"])


if __name__ == "__main__":
    main()
