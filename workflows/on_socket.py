"""on_socket: runs Dagster's web server on a Unix socket, which its own command cannot bind to.

python -m workflows.on_socket SOCKET [arguments of dagster-webserver]
"""

from __future__ import annotations

import sys
from typing import Any

import dagster_webserver.cli as dagster
import uvicorn

_run = uvicorn.run


def main() -> None:
    socket = sys.argv.pop(1)

    def run(app: Any, host: str, port: int, **options: Any) -> None:
        _run(app, uds=socket, **options)

    setattr(uvicorn, "run", run)  # noqa: B010  of another signature
    dagster.main()


if __name__ == "__main__":
    main()
