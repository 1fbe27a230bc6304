"""given: inputs of the command line, and the model that reads them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pipelines.foundation.step import SCHEME
from pipelines.registry import models
from pipelines.store.home import Home
from vitlens_core import modalities
from vitlens_core.api import Model, load
from vitlens_core.errors import ConfigError


def opened(source: str, foundation: str | None, device: str = "cpu") -> Model:
    """Open a lens (`models:/…`, a file or folder), or a foundation alone (`hf:…`, `open_clip:…`).

    Raises:
        VitlensError: it cannot be opened.
    """
    is_foundation = source.partition(":")[0] in ("hf", "open_clip")
    if is_foundation and foundation is None:
        return load(foundation=source, device=device)
    return load(source, foundation=foundation, device=device)


def known_classes(source: str) -> tuple[str, ...]:
    """Return the classes that a registered version was evaluated on; none for other sources."""
    if not source.startswith(SCHEME):
        return ()
    return models.find(source, Home.from_environment().root).classes


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
