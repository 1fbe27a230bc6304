"""config: the settings of a service, from the command line and the environment."""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, SecretStr

from pipelines.store.files import private_once
from vitlens_core.errors import ConfigError

TOKEN, TOKEN_FILE = "VITLENS_TOKEN", "VITLENS_TOKEN_FILE"
_SHORTEST_TOKEN = 16
WINDOWS = "windows"  # in place of a detector: windows of the picture are embedded


class Limits(BaseModel):
    """Limits of one request, and of the number of requests."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    body_mb: float = Field(64, gt=0, description="size of a request's body [MB]")
    inputs: int = Field(32, ge=1, description="inputs of a request")
    classes: int = Field(256, ge=1, description="classes of a request")
    text_characters: int = Field(2000, ge=1, description="length of a text or a class")
    frames: int = Field(64, ge=1, description="frames of one video")
    neighbours: int = Field(100, ge=1, description="items found per input")
    answer_tokens: int = Field(256, ge=1, description="tokens of an answer to a question")
    steps: int = Field(50, ge=1, description="steps of drawing a picture")
    picture_px: int = Field(
        1024, ge=64, description="longer side of a picture looked through; larger ones are reduced"
    )
    upload_s: float = Field(60, gt=0, description="time to receive a body [s]")
    decode_s: float = Field(20, gt=0, description="time to read one file [s]")
    decode_all_s: float = Field(
        40, gt=0, description="time to read all files of a request, one after the other [s]"
    )
    decode_mb: int = Field(2048, ge=64, description="memory to read one file [MB]")
    request_s: float = Field(120, gt=0, description="time from the body to the answer [s]")
    waiting: int = Field(64, ge=2, description="requests of a replica at a time")
    uploads: int = Field(256, ge=1, description="bodies that arrive at a time")
    bodies_mb: float = Field(512, gt=0, description="bytes of all bodies in progress [MB]")


class CompanionSettings(BaseModel):
    """Other models that are opened beside the lens; empty: none."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    ask: str = Field("", description="question model: a folder, or a name on the hub")
    connector: str = Field("", description="file of a connector: `ask` is then a language model")
    detect: str = Field("", description=f"detector: the same, or `{WINDOWS}`, which needs none")
    imagine: str = Field("", description="decoder: a pipeline of diffusers, the same")
    encoder: str = Field("", description="image encoder the decoder was trained with")
    adapter: str = Field("", description="safetensors of an IP-Adapter")
    statistics: str = Field("", description="the foundation's image statistics, for the decoder")

    @property
    def are_named(self) -> bool:
        return bool(self.ask or self.detect or self.imagine)


class ServiceConfig(BaseModel):
    """One service: its models and how they are served."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    sources: tuple[str, ...] = Field(min_length=1, description="as vitlens_core.load takes them")
    index: str = Field("auto", description="auto, none, or the folder of an index")
    store: str = Field("", description="folder or URL in which `auto` looks for the index")
    limits: Limits = Limits()
    companions: CompanionSettings = CompanionSettings()
    token: SecretStr | None = Field(None, description="bearer token; without one, open to all")
    hosts: tuple[str, ...] = Field(
        ("localhost",), description="names in the Host header; addresses are always allowed"
    )
    decoders: int = Field(2, ge=1, description="children of a replica that read files")
    threads: int = Field(1, ge=1, description="torch threads of a replica")
    batch_size: int = Field(16, ge=1, description="inputs that pass a tower at a time")
    batch_wait_s: float = Field(0.01, ge=0, description="how long an input waits for a batch [s]")
    poll_s: float = Field(5, gt=0, description="time between two queries of the registry [s]")
    retry_s: float = Field(60, gt=0, description="time before a failed version is retried [s]")


def token_from(environment: Mapping[str, str] = os.environ) -> SecretStr | None:
    """Read the bearer token from the environment, or from the file that it names; None: neither.

    Raises:
        ConfigError: both are given, the file cannot be read, or a token is too short.
    """
    given, file = environment.get(TOKEN), environment.get(TOKEN_FILE)
    if given is not None and file is not None:
        raise ConfigError(f"{TOKEN} and {TOKEN_FILE} are both set: unset one")
    if file is not None:
        try:
            given = Path(file).read_text().strip()
        except OSError as error:
            raise ConfigError(f"{TOKEN_FILE}={file} cannot be read: {error.strerror}") from error
    return None if given is None else _checked(given)


def token_of(home: Path) -> tuple[SecretStr, bool]:
    """Return a home's own token, and whether it was made just now.

    Raises:
        ConfigError: the file holds no token.
    """
    file = token_file(home)
    is_new = not file.exists()
    return _checked(private_once(file, lambda: secrets.token_urlsafe(32)).strip()), is_new


def token_file(home: Path) -> Path:
    return home / "keys" / "service.token"


def _checked(token: str) -> SecretStr:
    if len(token) < _SHORTEST_TOKEN or not token.isascii():
        raise ConfigError(
            f"a token needs {_SHORTEST_TOKEN} or more ASCII characters, found {len(token)}; "
            "`openssl rand -hex 24` makes one"
        )
    return SecretStr(token)
