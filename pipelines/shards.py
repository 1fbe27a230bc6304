"""shards: paired samples of a modality, ready for training and evaluation.

Reads     renders (of objects), or a source (any other data set).
Writes    `<split>-NNNNN.tar`, one per shard of what was read; per sample
            <signal>.npy     the modality's signal (`SIGNAL` of its file); floats as fp16
            view00.png …     the images it is paired with
            teacher.npy      the signals of the teacher's modality, if a lens teaches
            json             label, captions (those of held-out samples never name the class),
                             split, name, group, licence, creator
          A sample of a rendered object is the whole object for point clouds, one view for depth.
Promises  deterministic names and bytes; bounded size; readable by plain webdataset.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from pipelines.artifacts import Artifact, Quarantined
from pipelines.cluster import ShardTask, build_shards, tasks_of
from pipelines.mirror import ObjectRecord
from pipelines.runtime import Runtime
from pipelines.shard_io import (
    Sample,
    decode_array,
    encode_array,
    encode_json,
    encode_png,
    view_names,
)
from pipelines.source import read_pairs, tasks_of_source
from pipelines.sources.base import Pair, SourceSettings
from pipelines.teacher import SIGNAL as TEACHER_SIGNAL
from vitlens_core import modalities
from vitlens_core.captions import class_prompts, object_captions
from vitlens_core.errors import BadSampleError, ConfigError, InputError
from vitlens_core.models.tower import TowerSettings
from vitlens_core.signals.pictures import square_rgb

STEP = "shards"
VERSION = 3
OF_OBJECTS = ("point_cloud", "depth")  # modalities that rendered objects give
_STAGE_BASELINE_M = 0.075  # of the imagined camera that sees the stage: a Kinect's


class ShardsConfig(BaseModel):
    """What a paired sample holds."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    points: int = Field(10_000, ge=16, description="points stored per cloud")
    views: int | None = Field(
        None, ge=1, description="views of an object that become samples, for depth; all if unset"
    )
    image_px: int = Field(224, ge=16, description="side of the images of a source")
    label_captions: bool = Field(
        True, description="whether captions of *training* samples name their class"
    )


def run(
    runtime: Runtime,
    config: ShardsConfig,
    tower: TowerSettings,
    source_settings: SourceSettings | None = None,
    teacher: TowerSettings | None = None,
    *,
    renders: Artifact | None = None,
    source: Artifact | None = None,
) -> Artifact:
    """Pair every signal with its images and captions.

    Args:
        tower: names the modality and says how its raw recordings become signals.
        source_settings: where the files of `source` lie.
        teacher: the lens that teaches, whose signals are stored as well.

    Raises:
        ConfigError: rendered objects have no signal of the teacher's modality.
    """
    name, upstream = ("renders", renders) if renders else ("source", source)
    assert upstream is not None
    identity = {"modality": tower.modality, **config.model_dump()}
    if tower.modality != "point_cloud" or source:
        identity["tokenizer"] = tower.tokenizer
    if teacher:
        identity["teacher"] = {"modality": teacher.modality, "tokenizer": teacher.tokenizer}
    inputs = {name: upstream}
    build = runtime.store.begin(STEP, VERSION, identity, inputs, part=upstream.is_part)
    if build.existing:
        return build.existing
    if renders:
        if teacher and teacher.modality not in OF_OBJECTS:
            raise ConfigError(
                f"foundation: a lens for {teacher.modality} cannot teach with rendered objects, "
                f"which are seen as {' and '.join(OF_OBJECTS)}"
            )
        stage: Any = partial(RenderedPairs, config, tower, renders, teacher)
        return build_shards(runtime, build, tasks_of(renders), stage)
    stage = partial(RecordedPairs, config, tower, source_settings, source, teacher)
    return build_shards(runtime, build, tasks_of_source(upstream), stage)


class RenderedPairs:
    """Turns one shard of rendered objects into one shard of pairs."""

    def __init__(
        self,
        config: ShardsConfig,
        tower: TowerSettings,
        renders: Artifact,
        teacher: TowerSettings | None = None,
    ) -> None:
        self.config = config
        self.renders = renders
        self.tower, self.teacher = tower, teacher
        self.signal = modalities.load_lensed(tower.modality).SIGNAL

    def samples(self, task: ShardTask) -> Iterator[Sample | Quarantined]:
        for sample in self.renders.read(task.name):
            yield from self._pairs(sample)

    def _pairs(self, sample: Sample) -> Iterator[Sample]:
        """The whole object as a cloud, or one sample per view: the map and its picture."""
        names = view_names(sample)
        if self.tower.modality == "point_cloud":
            yield self._pair(sample, sample["__key__"], names)
            return
        for name in names[: self.config.views]:
            key = f"{sample['__key__']}-{name.removesuffix('.png')}"
            yield self._pair(sample, key, [name])

    def _pair(self, sample: Sample, key: str, views: list[str]) -> Sample:
        taught = {}
        if self.teacher:
            taught[TEACHER_SIGNAL] = _encoded(self._signals(sample, self.teacher, views))
        return {
            "__key__": key,
            "json": self._described(sample),
            self.signal: _encoded(self._signals(sample, self.tower, views)[0]),
            **taught,
            **{f"view{i:02d}.png": sample[name] for i, name in enumerate(views)},
        }

    def _signals(self, sample: Sample, tower: TowerSettings, views: list[str]) -> np.ndarray:
        """What a tower sees of an object: its cloud [1, N, 6], or each view's map [V, H, W]."""
        if tower.modality == "point_cloud":
            return decode_array(sample["points.npy"])[None, : self.config.points]
        disparity = modalities.load(tower.modality).disparity
        depth_m = np.load(io.BytesIO(sample["depth.npz"]))["depth_m"]
        focal_px = np.load(io.BytesIO(sample["cameras.npz"]))["intrinsics_px"][0, 0]
        numbers = [view_names(sample).index(name) for name in views]
        raws = [disparity(depth_m[n], focal_px, _STAGE_BASELINE_M) for n in numbers]
        return np.stack([tower.signal.store(raw) for raw in raws])

    def _described(self, sample: Sample) -> bytes:
        described = json.loads(sample["json"])
        record = ObjectRecord(**{k: described[k] for k in ObjectRecord.__dataclass_fields__})
        named = self.config.label_captions and described["split"] == "train"
        kept = ("label", "split", "name", "licence", "creator")
        paired = {key: described[key] for key in kept}
        paired["group"] = sample["__key__"]
        paired["captions"] = list(object_captions(record, use_label=named))
        return encode_json(paired)


class RecordedPairs:
    """Reads one shard's recordings, images and captions from a data set."""

    def __init__(
        self,
        config: ShardsConfig,
        tower: TowerSettings,
        settings: SourceSettings,
        source: Artifact,
        teacher: TowerSettings | None = None,
    ) -> None:
        self.config = config
        self.settings = settings
        self.source = source
        self.modality = modalities.load_lensed(tower.modality)
        self.signal = tower.signal
        self.teacher = teacher

    def samples(self, task: ShardTask) -> Iterator[Sample | Quarantined]:
        for pair in read_pairs(self.source, task.name):
            try:
                yield self._sample(pair)
            except (InputError, BadSampleError) as error:
                yield Quarantined(key=pair.key, step=STEP, reason=str(error))

    def _sample(self, pair: Pair) -> Sample:
        signal = self.signal.store(self.settings.read(pair, self.modality))
        images = [square_rgb(image, self.config.image_px) for image in self.settings.images(pair)]
        described = {
            "label": pair.label,
            "split": pair.split,
            "name": pair.name or pair.label or pair.key,
            "group": pair.group or pair.key,
            "licence": pair.licence,
            "creator": pair.creator,
            "captions": self._captions(pair),
        }
        return {
            "__key__": pair.key,
            "json": encode_json(described),
            self.modality.SIGNAL: _encoded(signal),
            **self._taught(pair),
            **{f"view{i:02d}.png": encode_png(image) for i, image in enumerate(images)},
        }

    def _taught(self, pair: Pair) -> Sample:
        """What the teacher is shown. Raises InputError: the pair has nothing for it."""
        if self.teacher is None:
            return {}
        modality, signal = modalities.load_lensed(self.teacher.modality), self.teacher.signal
        raws = self.settings.teacher_signals(pair, modality)
        if not raws:
            raise InputError(f"no {self.teacher.modality} goes with it, to be taught by")
        return {TEACHER_SIGNAL: _encoded(np.stack([signal.store(raw) for raw in raws]))}

    def _captions(self, pair: Pair) -> list[str]:
        """The data set's own; for training also its label in the modality's prompts.

        Validation has those prompts where it would have no caption at all.
        """
        may_be_named = pair.split == "train" or (pair.split == "val" and not pair.texts)
        if not (self.config.label_captions and may_be_named and pair.label):
            return list(pair.texts)
        return [*pair.texts, *class_prompts(pair.label, self.modality.TEMPLATES)]


def _encoded(signal: np.ndarray) -> bytes:
    return encode_array(signal.astype(np.float16) if signal.dtype.kind == "f" else signal)
