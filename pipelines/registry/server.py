"""server: whether the tracking server answers, asked once and briefly.

MLflow itself tries for minutes and then prints an error of its connection.
"""

from __future__ import annotations

import urllib.error
import urllib.request
from functools import cache
from http import HTTPStatus

from vitlens_core.errors import ConfigError, TransientError

_TIMEOUT_S = 5.0


@cache
def require_answer(uri: str) -> None:
    """Ask a server at http(s):// for its health; other addresses are no servers of MLflow.

    Raises:
        TransientError: nothing answers there.
        ConfigError: it asks for credentials, or something else than MLflow answers.
    """
    if not uri.startswith(("http://", "https://")):
        return
    named = f"the tracking server at MLFLOW_TRACKING_URI={uri}"
    try:
        # http or https, as checked above.
        with urllib.request.urlopen(f"{uri.rstrip('/')}/health", timeout=_TIMEOUT_S):  # noqa: S310
            return
    except urllib.error.HTTPError as error:
        if error.code in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
            return  # it is there; MLflow sends credentials, and this question had none
        raise ConfigError(
            f"{named} answers {error.code} to /health; name the address of an MLflow server"
        ) from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        raise TransientError(
            f"{named} does not answer within {_TIMEOUT_S:.0f} s ({reason}); start it, correct the "
            "address, or unset MLFLOW_TRACKING_URI to use the registry of the home"
        ) from error
