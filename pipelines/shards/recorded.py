"""recorded: makes pairs from the recordings of a data set."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from pipelines.execution.bulk import ShardTask
from pipelines.shards.sample import SampleInfo
from pipelines.shards.step import STEP, ShardsConfig, StoredSignal
from pipelines.source.base import Pair, SourceSettings
from pipelines.source.job import read_pairs
from pipelines.store.artifacts import Artifact, Quarantined
from pipelines.store.shards import Sample, encode_png, encode_signal, teacher_file
from vitlens_core.captions import class_prompts
from vitlens_core.errors import BadSampleError, InputError
from vitlens_core.readers import notes
from vitlens_core.signals.pictures import square_rgb


class RecordedPairs:
    """Reads one shard's recordings, images and captions from a data set."""

    def __init__(
        self,
        config: ShardsConfig,
        signal: StoredSignal,
        settings: SourceSettings,
        source: Artifact,
        teachers: Mapping[str, StoredSignal] | None = None,
    ) -> None:
        self.config = config
        self.settings = settings
        self.source = source
        self.signal = signal
        self.teachers = teachers or {}

    def samples(self, task: ShardTask) -> Iterator[Sample | Quarantined]:
        for pair in read_pairs(self.source, task.name):
            try:
                yield self._sample(pair)
            except (InputError, BadSampleError) as error:
                yield Quarantined(key=pair.key, step=STEP.name, reason=str(error))

    def _sample(self, pair: Pair) -> Sample:
        with notes.collected() as found:
            signal = self.signal.config.store(self.settings.read(pair, self.signal.kind))
        images = [square_rgb(image, self.config.image_px) for image in self.settings.images(pair)]
        assert pair.split is not None, "a source puts every pair on a side"
        info = SampleInfo(
            name=pair.name or pair.label or pair.key,
            label=pair.label,
            group=pair.group or pair.key,
            split=pair.split,
            licence=pair.licence,
            creator=pair.creator,
            captions=tuple(self._captions(pair)),
            notes=tuple(found),
        )
        return {
            "__key__": pair.key,
            "json": info.encode(),
            self.signal.file: encode_signal(signal),
            **self._signals_for_teachers(pair),
            **{f"view{i:02d}.png": encode_png(image) for i, image in enumerate(images)},
        }

    def _signals_for_teachers(self, pair: Pair) -> Sample:
        """Read the signals for every teacher (`InputError`: the pair lacks those of one)."""
        files: Sample = {}
        for name, shown in self.teachers.items():
            raws = self.settings.signals_for(name, pair, shown.kind)
            if not raws:
                raise InputError(f"the pair has no {shown.modality} for the teacher {name}")
            stored = np.stack([shown.config.store(raw) for raw in raws])
            files[teacher_file(name)] = encode_signal(stored)
        return files

    def _captions(self, pair: Pair) -> list[str]:
        """Return the data set's captions, and for training also prompts with the label.

        Validation samples get these prompts only if they have no caption. Test samples never do:
        a caption with the class would give the answer away.
        """
        may_be_named = pair.split == "train" or (pair.split == "val" and not pair.texts)
        if not (self.config.label_captions and may_be_named and pair.label):
            return list(pair.texts)
        return [*pair.texts, *class_prompts(pair.label, self.signal.kind.templates)]
