"""Which sockets a process and its descendants listen on."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import psutil


@dataclass(frozen=True)
class Socket:
    """One listening socket, and whose it is."""

    host: str
    port: int
    process: str

    @property
    def kind(self) -> str:
        """What a process is called, without its arguments."""
        words = self.process.split() or ["?"]
        if words[0].startswith("ray::"):
            return " ".join(words[:1])
        scripts = [word for word in words if word.endswith(".py")] or words[:1]
        modules = [after for word, after in pairwise(words) if word == "-m"]
        return (modules or [Path(scripts[0]).name])[0]

    @property
    def is_loopback(self) -> bool:
        address = ipaddress.ip_address(self.host)
        return (getattr(address, "ipv4_mapped", None) or address).is_loopback


def table(found: Sequence[Socket]) -> str:
    """The sockets as docs/security.md lists them: `pytest -s` shows what a test prints."""
    rows = [f"| {each.kind} | {each.host} | {each.port} |" for each in found]
    return "\n".join(["", "| process | address | port |", "|---|---|---|", *rows])


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
