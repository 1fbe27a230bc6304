"""cluster: joins the Ray cluster at RAY_ADDRESS, or starts a local Ray that nobody else can use.

Promises  a local Ray listens on the loopback interface only, asks every client for a random token,
          and keeps the token, its sockets and its logs in a folder that only this user can enter
          and that is deleted at the end. If one of these does not hold, `connect` stops Ray.
"""

from __future__ import annotations

import atexit
import logging
import os
import secrets
import tempfile
from importlib import import_module
from pathlib import Path
from typing import Any

from pipelines.execution.runtime import Resources
from pipelines.execution.worker_env import runtime_env
from vitlens_core.errors import VitlensError
from vitlens_core.scratch import Scratch

ADDRESS = "RAY_ADDRESS"
# Set where nodes are added on demand: Ray's autoscaler tells nobody how many it may add.
AUTOSCALED = "VITLENS_AUTOSCALED"
_QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_DATA_DISABLE_PROGRESS_BARS": "1",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}
# For a local Ray. By default glibc returns every large tensor to the kernel, and paging it in again
# took a quarter of a training step; and by default Ray's workers run at a lower priority than its
# own monitoring processes.
FAST = {
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": str(8 * 1024**3),
    "MALLOC_TOP_PAD_": str(64 * 1024**2),
    "RAY_worker_niceness": "0",
}
_LOOPBACK = {
    # Ray reads it on every system; without it, no other variable makes Ray bind to the loopback.
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
    "GLOO_SOCKET_IFNAME": "lo",
    "NCCL_SOCKET_IFNAME": "lo",
}
# Ray Serve calls it in the process that receives HTTP, before that process listens.
_PROXY_HOOK = {"RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH": "pipelines.service.doors.limit_proxy"}
_LONGEST_TEMP = 16  # paths of Unix sockets have 107 characters at most, and some 90 are added


def is_local() -> bool:
    """Whether Ray runs on this machine alone, for this process alone."""
    return ADDRESS not in os.environ


def connect(resources: Resources) -> None:
    """Join the cluster at `RAY_ADDRESS`, or start a local Ray of `resources.cpus` CPUs.

    Raises:
        ConfigError: `resources` take more than there is, where no nodes are added on demand.
        VitlensError: the local Ray is open to others.
    """
    import ray.data  # late, here and below: it takes seconds, and settings are checked without it

    if not ray.is_initialized():
        _start(resources)
    if AUTOSCALED not in os.environ:
        resources.require(ray.cluster_resources(), "this machine" if is_local() else "the cluster")


def _start(resources: Resources) -> None:
    import ray.data

    _set_absent(_QUIET)
    local = is_local()
    given = _local(resources) if local else {"runtime_env": runtime_env()}
    # A cluster's nodes keep their logs; a local Ray's workers share this terminal.
    ray.init(log_to_driver=not local, logging_level=logging.ERROR, **given)
    if local:
        _require_closed()
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False


def _set_absent(variables: dict[str, str]) -> None:
    os.environ.update({k: v for k, v in variables.items() if k not in os.environ})


def _local(resources: Resources) -> dict[str, Any]:
    """Prepare this process for a local Ray, and return the arguments of `ray.init`."""
    from ray._private import ray_constants

    raylet: Any = import_module("ray._raylet")
    folder = _private_folder()
    token = folder / "token"
    token.touch(mode=0o600)
    token.write_text(secrets.token_hex(32))
    _set_absent(FAST)
    os.environ.pop("RAY_AUTH_TOKEN", None)  # it would be used instead of the file
    os.environ.update(
        {
            **_LOOPBACK,
            **_PROXY_HOOK,
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN_PATH": str(token),
        }
    )
    # Ray has read these already if it was imported before, or run before with another token.
    ray_constants.ENABLE_RAY_CLUSTER = False
    raylet.Config.initialize("")
    raylet.AuthenticationTokenLoader.instance().reset_cache()
    return {
        "address": "local",  # never join a cluster that somebody else runs on this machine
        "num_cpus": resources.cpus,
        "object_store_memory": resources.object_store_mb * 1024**2,
        "include_dashboard": False,
        "_temp_dir": str(folder / "ray"),  # Ray opens this very folder to everybody
    }


def _private_folder() -> Path:
    """Make a folder that only this user can enter; it is deleted with this process."""
    root = tempfile.gettempdir()
    folder = Scratch.kept("ray", root if len(root) < _LONGEST_TEMP else "/tmp")  # noqa: S108
    atexit.register(_end, os.getpid())  # called before the folder is deleted
    return folder.path


def _end(pid: int) -> None:
    if os.getpid() == pid:  # a forked child inherits the call
        import ray

        ray.shutdown()


def _require_closed() -> None:
    """Stop a local Ray that others could use (`VitlensError`)."""
    import ray

    raylet: Any = import_module("ray._raylet")
    address = ray.util.get_node_ip_address()
    has_token = raylet.get_authentication_mode() == raylet.AuthenticationMode.TOKEN
    if address != "127.0.0.1" or not has_token:
        ray.shutdown()
        raise VitlensError(
            f"Ray started at {address}, {'with' if has_token else 'without'} a token; expected "
            "127.0.0.1 and a token, so it was stopped: install the locked version of Ray"
        )
