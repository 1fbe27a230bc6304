"""Which sockets a process and its descendants listen on."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass

import psutil


@dataclass(frozen=True)
class Socket:
    """One listening socket, and whose it is."""

    host: str
    port: int
    process: str

    @property
    def is_loopback(self) -> bool:
        address = ipaddress.ip_address(self.host)
        return (getattr(address, "ipv4_mapped", None) or address).is_loopback


def listening(pid: int) -> list[Socket]:
    """TCP sockets of a process and its descendants, as /proc/net/tcp and tcp6 list them."""
    root = psutil.Process(pid)
    found = []
    for process in [root, *root.children(recursive=True)]:
        try:
            open_ones = process.net_connections("tcp")
            name = " ".join(process.cmdline())[:90]
        except psutil.Error:
            continue
        found += [Socket(*c.laddr, name) for c in open_ones if c.status == psutil.CONN_LISTEN]
    return sorted(found, key=lambda each: each.port)
