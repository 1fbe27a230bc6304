"""base: a notice, and the settings of a receiver."""

from __future__ import annotations

import ipaddress
from abc import ABC, abstractmethod
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field

from vitlens_core.errors import ConfigError
from vitlens_core.kinds import OneOf

Event = Literal["run_failed", "gate_failed", "champion_changed"]
EVENTS: tuple[Event, ...] = ("run_failed", "gate_failed", "champion_changed")
TIMEOUT_S = 4.0  # of each step of an exchange, such as to connect or to be answered


class Notice(BaseModel):
    """What happened, for a person and for a program."""

    model_config = ConfigDict(frozen=True)

    event: Event
    id: str = Field(description="the same when it is sent again, so that it can be known")
    title: str = Field(description="one line")
    text: str = Field(description="a few lines: why, and what to do")
    facts: dict[str, str | bool | int | None] = Field(
        default_factory=dict, description="for programs"
    )
    at: datetime = Field(default_factory=lambda: datetime.now(UTC), description="when it happened")


class Receiver(BaseModel, ABC):
    """Settings of a receiver."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: str = Field(description="a module of pipelines.registry.notices")
    events: tuple[Event, ...] = Field(EVENTS, description="what it is told")

    @abstractmethod
    def send(self, notice: Notice) -> None:
        """Hand a notice over, or raise anything; it is tried again after all but `ConfigError`.

        The text of a `ConfigError` is logged, so it names no secret.
        """

    def check(self) -> None:
        """Raise `ConfigError` if a secret or an address is missing or unsafe."""


AnyReceiver = Annotated[Receiver, OneOf(Receiver, "receiver", __package__ or "")]


def secret(file: Path) -> str:
    """Return the content of a secret's file (`ConfigError`: it is missing or empty)."""
    try:
        found = file.read_text().strip()
    except OSError as error:
        raise ConfigError(
            f"{file}: {error.strerror}; write the secret into this file, readable for this user"
        ) from error
    except UnicodeDecodeError:
        raise ConfigError(f"{file} is no text; write the secret into it") from None
    if not found:
        raise ConfigError(f"{file} is empty; write the secret into it")
    return found


def require_safe(url: str, where: str) -> None:
    """Refuse an address that is neither https nor on loopback, or has a user (`ConfigError`)."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname or "", parts.port
    except ValueError:
        raise ConfigError(f"{where}: its host or port is none") from None
    if parts.username is not None:
        raise ConfigError(f"{where}: an address with a user or password cannot be used")
    if not (host and (parts.scheme == "https" or (parts.scheme == "http" and is_loopback(host)))):
        raise ConfigError(f"{where}: expected an https address, or http on loopback")


def is_loopback(host: str) -> bool:
    """Whether a host is this machine, by name or by number."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
