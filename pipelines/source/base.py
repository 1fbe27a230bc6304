"""What every source offers: its pairs, listed first and read later.

A source is a data set on disk in its own published layout. Its settings are its code: one
frozen model per layout, which `pipelines.source` lists and `pipelines.shards` reads.

    pairs()   every recording with what goes with it; nothing is opened but the data set's own
              lists and annotations
    read()    one pair's raw recording, as its modality's `store` takes it
    images()  one pair's images
"""

from __future__ import annotations

import importlib
import pkgutil
import re
from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, PrivateAttr

from pipelines.source import made_up
from pipelines.store.files import made_once
from pipelines.store.home import Home
from pipelines.store.splits import Split
from vitlens_core.errors import ConfigError
from vitlens_core.modalities.base import Modality
from vitlens_core.readers.pictures import read_rgb

GENERATED, PACKAGE = "generated", "package"
_NOT_IN_KEYS = re.compile(r"[^A-Za-z0-9_-]+")


@dataclass(frozen=True)
class Pair:
    """One recording and what goes with it, by reference.

    Attributes:
        key: unique within the source; letters, digits, `-` and `_`.
        signal: file of the recording, relative to the source's folder.
        reader_options: what the file itself does not say, for the source's `read`; plain JSON
            values.
        images: files of images of the same thing, relative to the source's folder.
        texts: captions of the same thing.
        teacher: files of the same thing in the modality of a lens that teaches, relative too.
        label: its class, for zero-shot evaluation.
        split: the side the data set states; None leaves it to `pipelines.source`.
        group: what must not stand on two sides (a subject, a scene, a video); the key if empty.
        name: what people call it, for the report.
        licence, creator: as the data set states them.
    """

    key: str
    signal: str
    reader_options: dict[str, Any] = field(default_factory=dict)
    images: tuple[str, ...] = ()
    texts: tuple[str, ...] = ()
    teacher: tuple[str, ...] = ()
    label: str | None = None
    split: Split | None = None
    group: str = ""
    name: str = ""
    licence: str | None = None
    creator: str | None = None


def is_key(text: str) -> bool:
    """Whether a pair's key may be so: ASCII letters, digits, `-` and `_`, one at least."""
    return bool(text) and not _NOT_IN_KEYS.search(text)


def plain_key(name: str) -> str:
    """The name with a `-` for every run of what a key may not hold; two names may become one."""
    return _NOT_IN_KEYS.sub("-", name)


class SourceSettings(BaseModel, ABC):
    """Where a data set lies and how its pairs are divided; frozen, unknown keys refused.

    Attributes:
        kind: the layout; each subclass fixes it to one literal.
        modalities: those whose signals it holds; empty for any.
        root: folder of the data set.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    modalities: ClassVar[tuple[str, ...]] = ()

    kind: str
    root: str = Field(description="folder of the data set in its published layout")
    pairs_per_shard: int = Field(256, ge=1, description="bound of a shard's size")
    count: int | None = Field(None, ge=1, description="pairs to take at most, of every class alike")
    held_out_fraction: float = Field(
        0.25, gt=0, lt=1, description="of the groups, where the data set states no test side"
    )
    validation_fraction: float = Field(
        0.1, ge=0, lt=1, description="of the training groups, where it states no validation side"
    )
    missing: Literal["refuse", "quarantine"] = Field(
        "refuse", description="what becomes of pairs whose files are not there"
    )
    seed: int = Field(0, description="of the division")

    # Read where settings are made, in the driver, and carried to the workers.
    _home: Home = PrivateAttr(default_factory=Home.from_environment)

    @abstractmethod
    def pairs(self) -> Iterable[Pair]:
        """Every pair, in an order that does not depend on the file system.

        Raises:
            ConfigError: the folder is missing or not of this layout, or its lists contradict
                each other; the message names the file, what was found and what was expected.
        """

    def read(self, pair: Pair, modality: Modality) -> np.ndarray:
        """The pair's raw recording. Raises InputError."""
        return modality.read(self.folder() / pair.signal, **pair.reader_options)

    def images(self, pair: Pair) -> list[np.ndarray]:
        """The pair's images, uint8 RGB [H, W, 3] each. Raises InputError."""
        return [read_rgb(self.folder() / path) for path in pair.images]

    def teacher_signals(self, pair: Pair, modality: Modality) -> list[np.ndarray]:
        """The pair's raw recordings of a teacher's modality. Raises InputError."""
        return [modality.read(self.folder() / path) for path in pair.teacher]

    @property
    def generated(self) -> bool:
        """Whether the recordings are made up: figures from them must say so."""
        return self.root == GENERATED

    @property
    def is_local(self) -> bool:
        """Whether it lies in a folder of the user's: nothing to be made or fetched first."""
        return self.root not in (GENERATED, PACKAGE)

    def folder(self) -> Path:
        """The data set's folder; a generated one is written first, once per machine.

        Raises:
            ConfigError: no such folder.
        """
        if self.generated:
            return made_once(self._home.generated / self.kind, self._generate_in)
        folder = Path(self.root).expanduser().absolute()
        if not folder.is_dir():
            raise ConfigError(f"source.root: no folder {folder}; name the folder of {self.kind}")
        return folder

    def generate(self, folder: Path) -> None:
        """Write a small made-up data set in exactly this layout, the same files every time.

        Raises:
            ConfigError: `made_up` has no module for this kind.
        """
        if self.kind not in _made_up_kinds():
            raise ConfigError(
                f"source.root: there are no generated files for {self.kind}; name the folder of "
                f"the data set. Generated ones exist for {', '.join(_made_up_kinds())}"
            )
        importlib.import_module(f"{made_up.__name__}.{self.kind}").write(folder)

    def _generate_in(self, scratch: Path) -> Path:
        whole = scratch / self.kind
        whole.mkdir()
        self.generate(whole)
        return whole


def _made_up_kinds() -> list[str]:
    return sorted(module.name for module in pkgutil.iter_modules(made_up.__path__))
