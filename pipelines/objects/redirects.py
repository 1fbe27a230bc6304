"""redirects: an HTTP client that follows a mirror's redirects to public places only.

A mirror names where its files lie, and may be wrong or hostile. A redirect to this machine, to a
machine of the inner network or from https to http is refused; so is a public name that resolves to
such a machine. The mirror itself may be anywhere: the user named it.
"""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Iterable
from functools import partial
from types import SimpleNamespace
from typing import Any
from urllib.parse import urljoin, urlsplit

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.resolver import DefaultResolver

MOST_REDIRECTS = 5
_PORTS = {"http": 80, "https": 443}


async def open_client(*, origin: str, **options: Any) -> aiohttp.ClientSession:
    """Open a client for the mirror at `origin`; picklable with `functools.partial`."""
    options.pop("loop", None)
    trace = aiohttp.TraceConfig()
    trace.on_request_redirect.append(partial(_check_redirect, origin))
    connector = aiohttp.TCPConnector(resolver=_Public(_named_by_user(origin)))
    return aiohttp.ClientSession(connector=connector, trace_configs=[trace], **options)


async def _check_redirect(
    origin: str,
    _session: aiohttp.ClientSession,
    context: SimpleNamespace,
    params: aiohttp.TraceRequestRedirectParams,
) -> None:
    context.followed = getattr(context, "followed", 0) + 1
    target = urljoin(str(params.url), params.response.headers.get("Location", ""))
    if reason := refusal(origin, target):
        raise PermissionError(f"redirects to {_shown(target)}: {reason}")
    if context.followed > MOST_REDIRECTS:
        raise PermissionError(f"redirects more than {MOST_REDIRECTS} times")


def refusal(origin: str, target: str) -> str:
    """Say why a mirror at `origin` may not redirect to `target`; empty if it may."""
    if _place(origin) == _place(target):
        return ""
    start, end = urlsplit(origin), urlsplit(target)
    if end.scheme not in _PORTS:
        return "no web address"
    if start.scheme == "https" and end.scheme == "http":
        return "from https to http"
    if not end.hostname or _is_private(end.hostname):
        return "a machine of this network, which the mirror's own address does not name"
    return ""


def _place(url: str) -> tuple[str, str | None, int | None]:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port or _PORTS.get(parts.scheme)


def _is_private(host: str) -> bool:
    """Whether a host is this machine or no public address; names are resolved later."""
    if host == "localhost" or host.endswith((".localhost", ".local", ".internal")):
        return True
    try:
        return not ipaddress.ip_address(host).is_global
    except ValueError:
        # 127.1 and 0x7f.1 are addresses too, for the system but not for `ipaddress`.
        return host.replace(".", "").isdigit() or host.startswith("0x")


def _named_by_user(origin: str) -> frozenset[str]:
    """Return the hosts that may be private: the mirror's and those of proxies."""
    proxies = [v for name, v in os.environ.items() if name.lower().endswith("_proxy")]
    hosts: Iterable[str | None] = (urlsplit(url).hostname for url in (origin, *proxies))
    return frozenset(host for host in hosts if host)


def _shown(url: str) -> str:
    """Return an address without its query, which may hold a secret."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.hostname}:{parts.port or _PORTS.get(parts.scheme)}"


class _Public(AbstractResolver):
    """Resolves names of other machines than the user's to public addresses only."""

    def __init__(self, named_by_user: frozenset[str]) -> None:
        self._named_by_user = named_by_user
        self._resolver = DefaultResolver()

    async def resolve(self, host: str, port: int = 0, family: Any = 0) -> list[ResolveResult]:
        found = await self._resolver.resolve(host, port, family)
        if host in self._named_by_user:
            return found
        public = [one for one in found if not _is_private(one["host"])]
        if not public:
            raise PermissionError(f"{host} is a machine of this network")
        return public

    async def close(self) -> None:
        await self._resolver.close()
