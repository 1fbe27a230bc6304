"""ports: where servers listen, checked before they start."""

from __future__ import annotations

import socket

from vitlens_core.errors import ConfigError

HOST = "127.0.0.1"


def require_free(option: str, port: int, host: str = HOST) -> None:
    """Raise `ConfigError` if `port` is in use or `host` is not an address of this machine."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        # As servers do: a port whose last connections are in TIME_WAIT counts as free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise ConfigError(
                f"port {port} of {host} is taken ({error}): choose another by {option}"
            ) from error
