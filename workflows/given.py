"""given: inputs of the command line, and the model that reads them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import Any

import click

from pipelines.foundation.step import SCHEME
from pipelines.registry import models
from pipelines.store.home import Home
from vitlens_core import modalities
from vitlens_core.api import Model, load
from vitlens_core.errors import ConfigError
from vitlens_core.lens_header import read_settings
from vitlens_core.sources import locate

_FOUNDATIONS = ("hf", "open_clip")  # kinds that need no fit, and stand alone


@dataclass(frozen=True)
class Named:
    """The model that a command line names.

    Attributes:
        source: a lens (`models:/…`, a file or folder), or a foundation alone (`hf:…`,
            `open_clip:…`).
        lenses: further lenses of the same foundation.
        foundation: of the lenses, a spec or a folder; by default as the lens states it.
    """

    source: str
    lenses: tuple[str, ...] = ()
    foundation: str | None = None
    device: str = "cpu"

    def open(self) -> Model:
        """Open it.

        Raises:
            VitlensError: a part cannot be opened, or the lenses are of different foundations.
        """
        if self.foundation is None and self.source.partition(":")[0] in _FOUNDATIONS:
            return load(*self.lenses, foundation=self.source, device=self.device)
        return load(*self._lenses, foundation=self.foundation, device=self.device)

    def known_classes(self, modalities: Collection[str]) -> tuple[str, ...]:
        """Return the classes that the registered versions among the lenses were evaluated on.

        Args:
            modalities: the versions of these speak for them; for others all do.
        """
        registered = [name for name in self._lenses if name.startswith(SCHEME)]
        of_these = [n for n in registered if read_settings(locate(n))[0].modality in modalities]
        home = Home.from_environment().root
        versions = [models.find(name, home) for name in of_these or registered]
        return tuple(dict.fromkeys(label for version in versions for label in version.classes))

    @property
    def _lenses(self) -> tuple[str, ...]:
        return (self.source, *self.lenses)


def takes_model(command: Callable[..., None]) -> Callable[..., None]:
    """Add the argument SOURCE and the options that name a model; `command` gets them as `named`."""

    @click.argument("source")
    @click.option(
        "--lens",
        "lenses",
        multiple=True,
        metavar="SOURCE",
        help="A further lens of the same foundation, for another modality.",
    )
    @click.option(
        "--foundation", metavar="SPEC", help="Foundation of the lenses: a spec or folder."
    )
    @click.option("--device", default="cpu", show_default=True, help="As torch names it.")
    @wraps(command)
    def called(
        source: str, lenses: tuple[str, ...], foundation: str | None, device: str, **others: Any
    ) -> None:
        command(Named(source, lenses, foundation, device), **others)

    return called


def modality_of(model: Model, item: str, named: str | None = None) -> str:
    """Tell the modality of a file by its ending, among those that the model encodes.

    What is no file is text.

    Raises:
        ConfigError: no modality of the model reads such a file, or several do.
    """
    if named is not None:
        return named
    path = Path(item)
    if not path.is_file():
        if path.suffix and len(path.suffix) <= 5 and " " not in item:
            raise ConfigError(f"no file {item}")
        return "text"
    ending = path.suffix.lower()
    reads = [
        name
        for name in model.modalities
        if any(ending in format.endings for format in modalities.load(name).takes)
    ]
    # A film of one picture is a picture; a depth map or heat picture must be called so.
    if "image" in reads and "video" in reads:
        reads.remove("video")
    if len(reads) != 1:
        raise ConfigError(
            f"{item}: {'several' if reads else 'none'} of the model's modalities read {ending} "
            f"files ({', '.join(reads or model.modalities)}); name one: MODALITY={item}"
        )
    return reads[0]


def split_named(model: Model, item: str) -> tuple[str, str]:
    """Split `MODALITY=FILE` into both; without a modality it is told by the file's ending."""
    name, equals, rest = item.partition("=")
    if equals and name in modalities.names():
        return name, rest
    return modality_of(model, item), item


def by_modality(model: Model, items: Sequence[str]) -> dict[str, list[str]]:
    """Group inputs by their modality, in their order."""
    groups: dict[str, list[str]] = {}
    for item in items:
        name, path = split_named(model, item)
        groups.setdefault(name, []).append(path)
    return groups
