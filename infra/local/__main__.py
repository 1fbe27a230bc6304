"""Start and stop the stack: `infra/local/up`, `infra/local/down`, `infra/local/status`."""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

from infra.local.debian import MissingError
from infra.local.processes import Processes, StackError
from infra.local.stack import PORTS, Stack, free_ports, own_folder

_SHOWN = {
    "webserver": "Dagster",
    "mlflow": "MLflow",
    "ray_dashboard": "Ray",
    "prometheus": "Prometheus",
}


def main() -> None:
    """Do what the command line asks for."""
    parser = argparse.ArgumentParser(prog="infra/local")
    parser.add_argument("action", choices=("up", "down", "status"))
    # Short: Ray's sockets lie in it, and a path of a socket has 107 characters at the most.
    default = Path(tempfile.gettempdir(), f"vitlens-{os.getuid()}")
    parser.add_argument("--folder", type=Path, default=default, help="databases, secrets, logs")
    parser.add_argument(
        "--ports", choices=("usual", "free"), help="up: where parts listen; kept in the folder"
    )
    parser.add_argument("--serve", metavar="MODEL", help="up: such as models:/NAME@champion")
    asked = parser.parse_args()
    if asked.action != "up" and not asked.folder.exists():
        raise SystemExit(f"nothing was started in {asked.folder}")
    try:
        stack = Stack(own_folder(asked.folder), _ports(asked.folder, asked.ports))
        if asked.action == "up":
            stack.up()
            if asked.serve:
                stack.serve(asked.serve)
        if asked.action == "down":
            stack.down()
    except (StackError, MissingError) as error:
        raise SystemExit(f"{error}\n`infra/local/down` stops what was started") from None
    _show(stack)


def _ports(folder: Path, asked: str | None) -> Mapping[str, int]:
    """Return where parts listen: as asked for, or else as they did before."""
    kept = folder / "ports.json"
    before = json.loads(kept.read_text()) if kept.exists() else PORTS
    if asked is None:
        return before
    processes = Processes(folder)
    if any(map(processes.process, processes.known())):
        raise StackError("parts of the stack run: other ports are for the next start")
    chosen = free_ports() if asked == "free" else PORTS
    kept.write_text(json.dumps(chosen))
    return chosen


def _show(stack: Stack) -> None:
    known = stack.processes.known()
    for name in known:
        process = stack.processes.process(name)
        print(f"{name:<10} {f'process {process.pid}' if process else 'gone'}")
    if not known:
        print("nothing runs")
        return
    for part, title in _SHOWN.items():
        print(f"{title:<10} {stack.url(part)}")
    if "service" in known:
        token = f"{stack.folder}/secrets/service"
        print(f"{'service':<10} {stack.url('service')}, with the token in {token}")
    print(f"MLflow's account is admin; its password lies in {stack.folder}/secrets/mlflow-admin")


if __name__ == "__main__":
    main()
