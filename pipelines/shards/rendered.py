"""rendered: makes pairs from rendered objects."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from pipelines.execution.shard_tasks import ShardTask
from pipelines.objects.records import ObjectRecord
from pipelines.shards.sample import SampleInfo
from pipelines.shards.step import STEP, ShardsConfig, StoredSignal
from pipelines.store.artifacts import Artifact, Quarantined
from pipelines.store.shards import (
    Sample,
    decode_array,
    decode_png,
    encode_signal,
    teacher_file,
    view_names,
)
from vitlens_core.captions import object_captions
from vitlens_core.errors import BadSampleError, InputError


class ObjectFiles:
    """A rendered object's files; each is decoded when first needed, and once."""

    def __init__(self, sample: Sample) -> None:
        self._sample = sample

    @cached_property
    def points(self) -> np.ndarray:
        return decode_array(self._sample["points.npy"])

    @cached_property
    def rgba(self) -> np.ndarray:
        return np.stack([decode_png(self._sample[name]) for name in view_names(self._sample)])

    @cached_property
    def depth_m(self) -> np.ndarray:
        return self._read("depth.npz", "depth_m")

    @cached_property
    def focal_px(self) -> float:
        return self._read("cameras.npz", "intrinsics_px")[0, 0]

    def _read(self, file: str, name: str) -> np.ndarray:
        return np.load(io.BytesIO(self._sample[file]))[name]


@dataclass(frozen=True)
class SeenObject:
    """A rendered object seen from some of its views, for `from_render` of a modality."""

    files: ObjectFiles
    views: Sequence[int]

    @property
    def points(self) -> np.ndarray:
        return self.files.points

    @property
    def rgba(self) -> np.ndarray:
        return self.files.rgba[list(self.views)]

    @property
    def depth_m(self) -> np.ndarray:
        return self.files.depth_m[list(self.views)]

    @property
    def focal_px(self) -> float:
        return self.files.focal_px

    def stored(self, signal: StoredSignal) -> np.ndarray:
        """Return the signals of the object [K, …]: one of the whole, or one per view."""
        return signal.kind.from_render(signal.config, self)


class RenderedPairs:
    """Turns one shard of rendered objects into one shard of pairs."""

    def __init__(
        self,
        config: ShardsConfig,
        signal: StoredSignal,
        renders: Artifact,
        teachers: Mapping[str, StoredSignal] | None = None,
    ) -> None:
        self.config = config
        self.renders = renders
        self.signal, self.teachers = signal, teachers or {}

    def samples(self, task: ShardTask) -> Iterator[Sample | Quarantined]:
        for sample in self.renders.read(task.name):
            try:
                pairs = list(self._pairs(sample))
            except (InputError, BadSampleError) as error:
                yield Quarantined(key=sample["__key__"], step=STEP.name, reason=str(error))
            else:
                yield from pairs

    def _pairs(self, sample: Sample) -> Iterator[Sample]:
        """Yield one sample of the whole object with all its views, or a sample per view."""
        files, views = ObjectFiles(sample), range(len(view_names(sample)))
        if self.signal.kind.renders_as == "object":
            yield self._pair(sample, sample["__key__"], SeenObject(files, views))
            return
        for view in views[: self.config.views]:
            name = view_names(sample)[view].removesuffix(".png")
            yield self._pair(sample, f"{sample['__key__']}-{name}", SeenObject(files, [view]))

    def _pair(self, sample: Sample, key: str, seen: SeenObject) -> Sample:
        names = view_names(sample)
        for_teachers = {
            teacher_file(teacher): encode_signal(seen.stored(shown))
            for teacher, shown in self.teachers.items()
        }
        return {
            "__key__": key,
            "json": self._info(sample).encode(),
            self.signal.file: encode_signal(seen.stored(self.signal)[0]),
            **for_teachers,
            **{f"view{i:02d}.png": sample[names[view]] for i, view in enumerate(seen.views)},
        }

    def _info(self, sample: Sample) -> SampleInfo:
        described = json.loads(sample["json"])
        record = ObjectRecord(**{k: described[k] for k in ObjectRecord.__dataclass_fields__})
        named = self.config.label_captions and described["split"] == "train"
        captions, weights = _weighted(object_captions(record, use_label=named), record)
        return SampleInfo(
            name=record.name,
            label=record.label,
            group=sample["__key__"],
            split=described["split"],
            licence=record.licence,
            creator=record.creator,
            captions=captions,
            mirror=record.mirror,
            weights=weights,
        )


def _weighted(
    made: tuple[str, ...], record: ObjectRecord
) -> tuple[tuple[str, ...], dict[str, tuple[float, ...]]]:
    """Return captions that are made of an object's annotations and those of tables, and weights.

    Those that are made have a weight of 1 together; without tables all are drawn evenly.
    """
    if not record.texts:
        return made, {}
    weights = dict.fromkeys(made, 1 / len(made))
    for text, weight in zip(record.texts, record.text_weights, strict=True):
        weights[text] = weights.get(text, 0.0) + weight
    return tuple(weights), {"text": tuple(weights.values())}
