"""reading: reads the recordings of a data set in a child process without rights.

Reads     the files of one pair at a time, in a child that may read the data set's folder only.
Promises  a file that crashes its decoder, takes too long or too much memory raises
          `BadSampleError`, and the next pair is read.
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from pydantic import TypeAdapter

from pipelines.source.base import Pair, Ready, SourceSettings
from vitlens_core import late, modalities, notes
from vitlens_core.confinement import resolve_inside
from vitlens_core.errors import BadSampleError, InputError
from vitlens_core.modalities.base import SignalConfig
from vitlens_core.sandbox import Limits, Sandbox
from vitlens_core.sandbox.child import Arrays, Handler
from vitlens_core.sandbox.wire import Fields
from vitlens_core.signals.pictures import square_rgb

_PAIR = TypeAdapter(Pair)
_SIGNAL, _IMAGE, _TEACHER, _READY = "signal", "image", "teacher.", "ready."


@dataclass(frozen=True)
class Wanted:
    """What is read of a pair.

    Attributes:
        modality: of the recording; "": the recording is not read.
        signal: how the recording is stored; None: it is returned raw.
        image_px: side of the images; None: they are not read.
        teachers: modality and stored signal for each lens that teaches, by its name.
    """

    modality: str = ""
    signal: SignalConfig | None = None
    image_px: int | None = None
    teachers: Mapping[str, tuple[str, SignalConfig]] | None = None

    def described(self) -> dict[str, object]:
        """Return it as JSON-able values."""
        teachers = {
            name: [modality, signal.model_dump(mode="json")]
            for name, (modality, signal) in (self.teachers or {}).items()
        }
        signal = None if self.signal is None else self.signal.model_dump(mode="json")
        return {
            "modality": self.modality,
            "signal": signal,
            "image_px": self.image_px,
            "teachers": teachers,
        }


@dataclass(frozen=True)
class Recorded:
    """What was read of a pair: the recording, its images [S, S, 3], and [K, …] per teacher."""

    signal: np.ndarray | None
    images: Sequence[np.ndarray]
    teachers: Mapping[str, np.ndarray]
    ready: Ready | None = None


class PairReader:
    """Reads pairs of one data set, one at a time."""

    def __init__(self, settings: SourceSettings, wanted: Wanted) -> None:
        self._settings = settings
        # A generated or packaged data set is made here: the child could not write it.
        self._folder = settings.folder()
        opened = {
            "module": type(settings).__module__,
            "class": type(settings).__qualname__,
            "source": {**settings.model_dump(mode="json"), "root": str(self._folder)},
            "wanted": wanted.described(),
        }
        limits = Limits(time_s=settings.read_s, memory_mb=settings.read_mb)
        self._sandbox = Sandbox(
            f"{__name__}:open_pairs",
            opened,
            limits,
            readable=[self._folder],
            modules=[type(settings).__module__, *late.NAMES],
        )

    def read(self, pair: Pair) -> Recorded:
        """Read one pair.

        Raises:
            InputError: a file cannot be read or does not fit, or lies outside the data set.
            BadSampleError: a file crashed its decoder, or overran a limit.
            ConfigError: an option that the reader lacks.
        """
        for name in pair.files:
            resolve_inside(self._folder, name)
        inbox = self._sandbox.inbox
        laid_out = self._settings.lay_out(pair, inbox)
        try:
            asked = {"pair": json.loads(json.dumps(asdict(pair))), "inbox": str(inbox)}
            fields, arrays = self._sandbox.ask(asked)
        finally:
            for path in laid_out:
                path.unlink(missing_ok=True)
        return Recorded(
            signal=arrays.get(_SIGNAL),
            images=[arrays[name] for name in sorted(arrays) if name.startswith(_IMAGE)],
            teachers={
                name.removeprefix(_TEACHER): array
                for name, array in arrays.items()
                if name.startswith(_TEACHER)
            },
            ready=_received(fields, arrays),
        )

    def place(self, name: str) -> Path:
        """Return the path of a file of a pair (`InputError`: it is outside the data set)."""
        return resolve_inside(self._folder, name)

    @property
    def pid(self) -> int | None:
        return self._sandbox.pid

    def close(self) -> None:
        """End the child; the next pair starts another."""
        self._sandbox.close()


def open_pairs(opened: Fields) -> Handler:
    """Build the source and the signals, in the child."""
    module = importlib.import_module(opened["module"])
    settings: SourceSettings = getattr(module, opened["class"]).model_validate(opened["source"])
    wanted = opened["wanted"]
    name, values = wanted["modality"], wanted["signal"]
    modality = modalities.load(name) if name else None
    signal = modalities.load_lensed(name).Signal.model_validate(values) if values else None
    teachers = {
        teacher: (kind := modalities.load_lensed(of), kind.Signal.model_validate(stated))
        for teacher, (of, stated) in wanted["teachers"].items()
    }

    def read(fields: Fields, _: Arrays) -> tuple[Mapping[str, object], Arrays]:
        pair = _PAIR.validate_python(fields["pair"])
        settings.look_in(Path(fields["inbox"]))
        arrays: Arrays = {}
        if modality is not None:
            raw = settings.read(pair, modality)
            arrays[_SIGNAL] = raw if signal is None else signal.store(raw)
        with notes.collected():  # a sample's notes are those of its signal
            if wanted["image_px"]:
                for number, image in enumerate(settings.images(pair)):
                    arrays[f"{_IMAGE}{number:06d}"] = square_rgb(image, wanted["image_px"])
            for teacher, (kind, stored) in teachers.items():
                raws = settings.signals_for(teacher, pair, kind)
                if not raws:
                    raise InputError(f"the pair has no {kind.name} for the teacher {teacher}")
                arrays[f"{_TEACHER}{teacher}"] = np.stack([stored.store(raw) for raw in raws])
        ready = settings.ready(pair)
        if ready is None:
            return {}, arrays
        arrays |= {f"{_READY}{kind}": array for kind, array in ready.embeddings.items()}
        return {"captions": ready.captions, "weights": ready.weights}, arrays

    return read


def _received(fields: Fields, arrays: Arrays) -> Ready | None:
    """Make what a child told of ready-made embeddings (`BadSampleError`: it contradicts itself)."""
    if "captions" not in fields:
        return None
    found = {n.removeprefix(_READY): array for n, array in arrays.items() if n.startswith(_READY)}
    captions = tuple(map(str, fields["captions"]))
    weights = {kind: tuple(map(float, many)) for kind, many in fields["weights"].items()}
    counts = {kind: len(array) for kind, array in found.items()}
    stated = {kind: len(many) for kind, many in weights.items()}
    flat = [kind for kind, array in found.items() if array.ndim != 2 or array.dtype.kind != "f"]
    if flat or counts.get("text", 0) != len(captions) or not stated.items() <= counts.items():
        raise BadSampleError(
            f"{len(captions)} captions and weights for {stated} do not fit embeddings for {counts}"
        )
    return Ready(captions, found, weights)
