"""A node of Ray on loopback: `ray start`, whose workers may join on 127.0.0.1 too.

Ray binds to loopback only where it is told that clusters are not supported
(`RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER=0`), and there its command refuses a second node. This command
starts one; the processes that it starts are told as before.
"""

from __future__ import annotations

from ray._private import ray_constants, services
from ray.scripts.scripts import main

from infra.local.processes import HOST


def _host(address: str | None = None) -> str:
    return HOST


if __name__ == "__main__":
    # In this process alone. What it starts reads the variable.
    ray_constants.ENABLE_RAY_CLUSTER = True
    services.get_node_ip_address = _host  # ty: ignore[invalid-assignment]
    main()
