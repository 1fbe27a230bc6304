"""base: a benchmark: a public data set, its protocol, and published figures.

    Benchmark   defined by a module of `datasets`: task, protocol, licence, published figures
    Mounted     the content of its folder: recordings, labels, captions, listed but not read
    Example     one recording

A figure can be compared with a published one only under the same protocol, so a benchmark is a
data set *and* a protocol: ModelNet40 is two benchmarks.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from pipelines.source import job as source
from pipelines.source.base import Pair, SourceSettings
from pipelines.source.reading import PairReader, Wanted
from pipelines.store.artifacts import digest
from pipelines.store.splits import Split
from vitlens_core import caps
from vitlens_core.errors import ConfigError

if TYPE_CHECKING:
    from vitlens_core.api.untrusted import UntrustedReader

Task = Literal["classification", "multilabel", "retrieval"]
Published = Mapping[str, Mapping[str, float]]


@dataclass(frozen=True)
class Example:
    """One recording, listed.

    Attributes:
        key: unique within the benchmark.
        read: reads its raw arrays by modality, as `Model.encode` takes them; raises InputError.
        files: the files that `read` opens.
        labels: its classes; exactly one, except for the task `multilabel`.
        texts: its captions, for the task `retrieval`.
        group: the unit it shares with dependent recordings (a video, a subject); empty: itself.
    """

    key: str
    read: Callable[[], Mapping[str, np.ndarray]]
    files: tuple[Path, ...]
    labels: tuple[str, ...] = ()
    texts: tuple[str, ...] = ()
    group: str = ""


@dataclass(frozen=True)
class Mounted:
    """The content of a benchmark's folder.

    Attributes:
        test: the recordings that are scored.
        training: the data set's own training split, for few-shot and linear probe; may be empty.
        classes: all classes to choose from, in order; empty for `retrieval`.
        notes: what a reader of the figures must know about these files.
        generated: whether the files are made up, in the data set's layout.
    """

    test: list[Example]
    training: list[Example] = field(default_factory=list)
    classes: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    generated: bool = False

    def digest(self) -> str:
        """Return a digest of the listing and of the files' names and sizes, not of their place."""
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
        name: its key in `roots`.
        modality: modality of the lens that is measured.
        mount: lists the folder; raises VitlensError, with what was found and expected.
        protocol: the protocol, in one line of the table.
        published: figure → model → value in 0..1, all under this protocol.
        templates: prompts of a class; None: those of the modality.
        merged: class → label that it counts as, if classes are finer than labels.
        preparation: settings of signal or tokenizer that the protocol fixes (clips).
        expected: settings that the protocol assumes of the lens; rows note different ones.
        word: name of a recording in figures of retrieval.
        caveat: what a reader must know about every figure.
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


def open_reader() -> UntrustedReader:
    """Return the sandboxed reader of recordings."""
    # Late: it needs torch, and every run asks which benchmarks there are.
    from vitlens_core.api.untrusted import UntrustedReader

    return UntrustedReader()


def folder_of(root: str) -> Path:
    """Return the folder of a mounted benchmark (`ConfigError`: there is none)."""
    folder = Path(root).expanduser().absolute()
    if not folder.is_dir():
        raise ConfigError(f"no folder {folder}; name the folder of the data set")
    return folder


def read_json(path: Path, *, holds: str) -> object:
    """Read the content of a data set's JSON list.

    Args:
        holds: what the folder to mount contains, for the message.

    Raises:
        ConfigError: no such file, or no JSON.
    """
    try:
        return caps.parse_json(path.read_text(encoding="utf-8"))
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
    """List one split of a data set of `pipelines.source.datasets`, and its training split.

    If there are classes, recordings without a label are left out.

    Args:
        classes: all classes; if empty, the labels of the pairs, sorted.

    Raises:
        ConfigError: the data set cannot be listed, or the split has no recordings.
    """
    listing = source.listed(settings, modality)
    labelled = [pair for pair in listing.pairs if label(pair)]
    scored = labelled or listing.pairs
    of_side: dict[str, list[Example]] = {}
    reader = PairReader(settings, Wanted(modality))
    for pair in scored:
        of_side.setdefault(str(pair.split), []).append(_example(reader, pair, modality, label))
    if side not in of_side:
        raise ConfigError(f"{settings.folder()} has no recording for {side}")
    classes = classes or tuple(sorted({str(label(pair)) for pair in labelled}))
    return Mounted(
        of_side[side],
        of_side.get("train", []) if labelled else [],
        classes,
        left_out(len(listing.missing)),
        settings.generated,
    )


def _example(
    reader: PairReader, pair: Pair, modality: str, label: Callable[[Pair], str | None]
) -> Example:
    known = label(pair)

    def read() -> dict[str, np.ndarray]:
        signal = reader.read(pair).signal
        assert signal is not None, "a recording was wanted"
        return {modality: signal}

    files = (reader.place(pair.signal),)
    labels = (known,) if known else ()
    return Example(pair.key, read, files, labels, pair.texts, pair.group)


def left_out(count: int) -> tuple[str, ...]:
    """Make the note on listed recordings that are missing."""
    return (f"{count} listed recordings are not there and were left out",) if count else ()
