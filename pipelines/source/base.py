"""base: the interface of a source, whose pairs are listed first and read later.

A source is a data set on disk in its own published layout. The class of its settings is also its
code: one frozen model per layout, which `pipelines.source` lists and `pipelines.shards` reads.

    pairs()   every recording with its images, texts and label; only the data set's own lists and
              annotations are opened
    read()    one pair's raw recording, as its modality's `store` takes it
    images()  one pair's images
    ready()   one pair's captions and embeddings, where the data set brings them
"""

from __future__ import annotations

import importlib
import pkgutil
from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, PrivateAttr

from pipelines.source import made_up
from pipelines.store.files import made_once
from pipelines.store.home import Home
from pipelines.store.splits import Split
from vitlens_core.confinement import resolve_inside
from vitlens_core.errors import ConfigError
from vitlens_core.modalities.base import Modality
from vitlens_core.readers.pictures import read_rgb

GENERATED, PACKAGE = "generated", "package"


@dataclass(frozen=True)
class Pair:
    """One recording with its images, texts and label, by reference.

    Attributes:
        key: unique within the source; letters, digits, `-` and `_`.
        signal: file of the recording, relative to the source's folder.
        reader_options: facts that the file does not state, for the source's `read`; plain JSON
            values.
        images: files of images of the same thing, relative to the source's folder.
        texts: captions of the same thing.
        teachers: files of the same thing for each lens that teaches, by the teacher's name,
            relative too.
        label: its class, for zero-shot evaluation.
        split: the split that the data set states; None: `pipelines.source` decides.
        group: what must not be in two splits (a subject, a scene, a video); the key if empty.
        name: name for people, in the report.
        licence, creator: as the data set states them.
    """

    key: str
    signal: str
    reader_options: dict[str, Any] = field(default_factory=dict)
    images: tuple[str, ...] = ()
    texts: tuple[str, ...] = ()
    teachers: dict[str, tuple[str, ...]] = field(default_factory=dict)
    label: str | None = None
    split: Split | None = None
    group: str = ""
    name: str = ""
    licence: str | None = None
    creator: str | None = None

    @property
    def files(self) -> tuple[str, ...]:
        """Every file of the pair, relative to the data set's folder."""
        return self.signal, *self.images, *chain.from_iterable(self.teachers.values())


@dataclass(frozen=True)
class Incomplete:
    """A pair that its data set lists without what it needs, such as a failed download."""

    key: str
    reason: str


@dataclass(frozen=True)
class Ready:
    """Captions of a recording, and embeddings of a CLIP that its data set brings ready-made.

    Attributes:
        captions: C texts.
        embeddings: by kind of target, `image` [V, E] and `text` [C, E].
        weights: by kind too, how often each is drawn in training, relative to the others of the
            sample; kinds that are not named are drawn evenly.
    """

    captions: tuple[str, ...]
    embeddings: dict[str, np.ndarray]
    weights: dict[str, tuple[float, ...]]


class SourceSettings(BaseModel, ABC):
    """Where a data set lies and how its pairs are divided; frozen, unknown keys are refused.

    Attributes:
        kind: the layout; each subclass fixes it to one literal.
        modalities: the modalities of its signals; empty: any.
        root: folder of the data set.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    modalities: ClassVar[tuple[str, ...]] = ()

    kind: str
    root: str = Field(description="folder of the data set in its published layout")
    pairs_per_shard: int = Field(256, ge=1, description="most pairs of a shard")
    count: int | None = Field(None, ge=1, description="most pairs, taken from each class in turn")
    held_out_fraction: float = Field(
        0.25, gt=0, lt=1, description="share of groups for test, if the data set states no split"
    )
    validation_fraction: float = Field(
        0.1, ge=0, lt=1, description="share of training groups for validation, if none is stated"
    )
    most_missing: float = Field(
        0.5,
        ge=0,
        lt=1,
        description="largest share of pairs that may lack a file and are quarantined; above it "
        "the data set is refused",
    )
    seed: int = Field(0, description="seed of the division into splits")
    read_s: float = Field(120, gt=0, description="most seconds to read one pair [s]")
    read_mb: int = Field(8192, ge=64, description="most memory to read one pair [MB]")

    # Read where settings are made, in the driver, and carried to the workers.
    _home: Home = PrivateAttr(default_factory=Home.from_environment)
    _inbox: Path | None = PrivateAttr(None)

    @abstractmethod
    def pairs(self) -> Iterable[Pair | Incomplete]:
        """List every pair, in an order that does not depend on the file system.

        Raises:
            ConfigError: the folder is missing or has another layout, or its lists contradict
                each other; the message names the file, what was found and what was expected.
        """

    def read(self, pair: Pair, modality: Modality) -> np.ndarray:
        """Read the pair's raw recording (`InputError`)."""
        return modality.read(self.place(pair.signal), **pair.reader_options)

    @property
    def embeddings_of(self) -> str | None:
        """The CLIP of ready-made embeddings: a foundation's spec or its digest; None: has none."""
        return None

    @property
    def trains_on_lvis(self) -> bool:
        """Whether objects of the benchmark Objaverse-LVIS are trained on."""
        return False

    def ready(self, pair: Pair) -> Ready | None:
        """Read a pair's ready-made embeddings (`InputError`); None if its data set has none."""
        return None

    def images(self, pair: Pair) -> list[np.ndarray]:
        """Read the pair's images, uint8 RGB [H, W, 3] each (`InputError`)."""
        return [read_rgb(self.place(path)) for path in pair.images]

    def signals_for(self, teacher: str, pair: Pair, modality: Modality) -> list[np.ndarray]:
        """Read the pair's raw recordings for a teacher, in its modality (`InputError`)."""
        return [modality.read(self.place(path)) for path in pair.teachers.get(teacher, ())]

    def lay_out(self, pair: Pair, inbox: Path) -> list[Path]:
        """Copy what is a part of a larger file to a file of its own, before `read` in a child.

        Returns:
            The files made in `inbox`; the caller deletes them.

        Raises:
            InputError: the larger file ends before.
        """
        return []

    def look_in(self, inbox: Path) -> None:
        """Say where `lay_out` put files."""
        self._inbox = inbox

    def place(self, name: str) -> Path:
        """Return the path of a file of a pair (`InputError`: it is outside the data set)."""
        return resolve_inside(self.folder(), name)

    @property
    def generated(self) -> bool:
        """Whether the recordings are generated; their figures must say so."""
        return self.root == GENERATED

    @property
    def is_local(self) -> bool:
        """Whether it lies in a folder of the user, so that nothing must be made or fetched."""
        return self.root not in (GENERATED, PACKAGE)

    def folder(self) -> Path:
        """Return the data set's folder; a generated one is written first, once per machine.

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
        """Write a small generated data set in exactly this layout, with the same files every time.

        Raises:
            ConfigError: `made_up` has no module for this kind.
        """
        if self.kind not in _made_up_kinds():
            raise ConfigError(
                f"source.root: there are no generated files for {self.kind}; name the folder of "
                f"the data set. Generated files exist for {', '.join(_made_up_kinds())}"
            )
        importlib.import_module(f"{made_up.__name__}.{self.kind}").write(folder)

    def _generate_in(self, scratch: Path) -> Path:
        whole = scratch / self.kind
        whole.mkdir()
        self.generate(whole)
        return whole


def _made_up_kinds() -> list[str]:
    return sorted(module.name for module in pkgutil.iter_modules(made_up.__path__))
