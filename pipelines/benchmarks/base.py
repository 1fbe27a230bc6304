"""What a benchmark is: a public data set, the protocol it is scored by, and what others reached.

    Benchmark   stated by a module of `datasets`: task, protocol, licence, published figures
    Mounted     what its folder holds: recordings, labels, captions, listed and not yet read
    Example     one recording of it

A figure is comparable to a published one only under the same protocol, so a benchmark is a data
set *and* a protocol: ModelNet40 is two.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np

from pipelines.source import job as source
from pipelines.source.base import Pair, SourceSettings
from pipelines.store.artifacts import digest
from pipelines.store.splits import Split
from vitlens_core import modalities
from vitlens_core.errors import ConfigError

Task = Literal["classification", "multilabel", "retrieval"]
Published = Mapping[str, Mapping[str, float]]


@dataclass(frozen=True)
class Example:
    """One recording, listed.

    Attributes:
        key: unique within the benchmark.
        read: its raw arrays by modality, as `Model.encode` takes them; raises InputError.
        files: what `read` opens.
        labels: its classes; one, but of `multilabel`.
        texts: its captions, of `retrieval`.
        group: what it is not independent of (a video, a subject); itself if empty.
    """

    key: str
    read: Callable[[], Mapping[str, np.ndarray]]
    files: tuple[Path, ...]
    labels: tuple[str, ...] = ()
    texts: tuple[str, ...] = ()
    group: str = ""


@dataclass(frozen=True)
class Mounted:
    """What a benchmark's folder holds.

    Attributes:
        test: what is scored.
        training: the data set's own training side, for few-shot and linear probe; may be empty.
        classes: all that may be chosen among, in order; empty of `retrieval`.
        notes: what a reader of the figures must know of these files.
        generated: they are made up, in the data set's layout.
    """

    test: list[Example]
    training: list[Example] = field(default_factory=list)
    classes: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    generated: bool = False

    def digest(self) -> str:
        """Of the listing and of the names and sizes of its files; not of where they lie."""
        examples = (*self.test, *self.training)
        files = {path for example in examples for path in example.files}
        common = os.path.commonpath(files)
        names = {path: os.path.relpath(path, common) for path in files}
        listed = [
            [e.key, e.labels, e.texts, e.group, [names[path] for path in e.files]] for e in examples
        ]
        sizes = sorted((name, path.stat().st_size) for path, name in names.items())
        return digest([listed, len(self.test), sizes, self.classes, self.notes, self.generated])


@dataclass(frozen=True)
class Benchmark:
    """A data set under one protocol.

    Attributes:
        name: as `roots` has it.
        modality: the lens that is measured.
        mount: lists the folder; raises VitlensError, with what was found and expected.
        protocol: what is done, in a line of the table.
        published: figure → model → its value, in 0..1, all under this protocol.
        templates: prompts of a class; the modality's own where None.
        merged: class → label it counts as, where classes are finer than labels.
        preparation: settings of signal or tokenizer that the protocol fixes (clips).
        expected: those it presumes of the lens; a lens with others is noted in its rows.
        word: what a recording is called in figures of retrieval.
        caveat: what a reader must know of every figure.
    """

    name: str
    title: str
    modality: str
    task: Task
    mount: Callable[[str], Mounted]
    protocol: str
    licence: str
    published: Published = field(default_factory=dict)
    templates: tuple[str, ...] | None = None
    merged: Mapping[str, str] | None = None
    preparation: Mapping[str, object] = field(default_factory=dict)
    expected: Mapping[str, object] = field(default_factory=dict)
    word: str = "audio"
    caveat: str = ""


def folder_of(root: str) -> Path:
    """The folder a benchmark is mounted at. Raises ConfigError: there is none."""
    folder = Path(root).expanduser().absolute()
    if not folder.is_dir():
        raise ConfigError(f"no folder {folder}; name the folder of the data set")
    return folder


def read_json(path: Path, *, holds: str) -> object:
    """The content of a data set's list.

    Args:
        holds: what lies in the folder to mount, for the message.

    Raises:
        ConfigError: no such file, or no JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"no file {path}; mount the folder that holds {holds}") from error
    except ValueError as error:
        raise ConfigError(f"{path} is not JSON: {error}") from error


def of_source(
    settings: SourceSettings,
    modality: str,
    *,
    side: Split = "test",
    classes: tuple[str, ...] = (),
    label: Callable[[Pair], str | None] = lambda pair: pair.label,
) -> Mounted:
    """One side of a data set that `pipelines.source.datasets` reads, and its training side.

    Recordings without a label are left out where there are classes.

    Args:
        classes: all there are; those of the pairs' labels, sorted, where empty and some have one.

    Raises:
        ConfigError: what listing the data set raises, or a side without recordings.
    """
    listing = source.listed(settings, modality)
    labelled = [pair for pair in listing.pairs if label(pair)]
    kept = labelled or listing.pairs
    of_side: dict[str, list[Example]] = {}
    for pair in kept:
        of_side.setdefault(str(pair.split), []).append(_example(settings, pair, modality, label))
    if side not in of_side:
        raise ConfigError(f"{settings.folder()} holds no recording for {side}")
    classes = classes or tuple(sorted({str(label(pair)) for pair in labelled}))
    return Mounted(
        of_side[side],
        of_side.get("train", []) if labelled else [],
        classes,
        left_out(len(listing.missing)),
        settings.generated,
    )


def _example(
    settings: SourceSettings, pair: Pair, modality: str, label: Callable[[Pair], str | None]
) -> Example:
    known = label(pair)

    def read() -> dict[str, np.ndarray]:
        return {modality: settings.read(pair, modalities.load(modality))}

    files = (settings.folder() / pair.signal,)
    labels = (known,) if known else ()
    return Example(pair.key, read, files, labels, pair.texts, pair.group)


def left_out(count: int) -> tuple[str, ...]:
    """The note on listed recordings that are not there."""
    return (f"{count} listed recordings are not there and were left out",) if count else ()
