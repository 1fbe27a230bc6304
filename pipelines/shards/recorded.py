"""recorded: makes pairs from the recordings of a data set."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from pipelines.execution.shard_tasks import ShardTask
from pipelines.shards.sample import SampleInfo
from pipelines.shards.step import STEP, ShardsConfig, StoredSignal
from pipelines.source.base import Pair, SourceSettings
from pipelines.source.job import read_pairs
from pipelines.source.reading import PairReader, Recorded, Wanted
from pipelines.store.artifacts import Artifact, Quarantined
from pipelines.store.shards import Sample, encode_png, encode_signal, ready_file, teacher_file
from vitlens_core import notes
from vitlens_core.captions import class_prompts
from vitlens_core.errors import BadSampleError, InputError


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
        teaching = {name: (t.modality, t.config) for name, t in (teachers or {}).items()}
        wanted = Wanted(signal.modality, signal.config, config.image_px, teaching)
        self.reader = PairReader(settings, wanted)

    def close(self) -> None:
        """End the child that reads."""
        self.reader.close()

    def samples(self, task: ShardTask) -> Iterator[Sample | Quarantined]:
        for pair in read_pairs(self.source, task.name):
            try:
                with notes.collected() as found:
                    recorded = self.reader.read(pair)
                yield self._sample(pair, recorded, found)
            except (InputError, BadSampleError) as error:
                yield Quarantined(key=pair.key, step=STEP.name, reason=str(error))

    def _sample(self, pair: Pair, recorded: Recorded, found: Sequence[str]) -> Sample:
        assert recorded.signal is not None, "a signal was wanted"
        assert pair.split is not None, "a source puts every pair on a side"
        ready = recorded.ready
        info = SampleInfo(
            name=pair.name or pair.label or pair.key,
            label=pair.label,
            group=pair.group or pair.key,
            split=pair.split,
            licence=pair.licence,
            creator=pair.creator,
            captions=ready.captions if ready else tuple(self._captions(pair)),
            weights=ready.weights if ready else {},
            embeddings_of=self.settings.embeddings_of if ready else None,
            notes=tuple(found),
        )
        return {
            "__key__": pair.key,
            "json": info.encode(),
            self.signal.file: encode_signal(recorded.signal),
            **{
                teacher_file(name): encode_signal(stored)
                for name, stored in recorded.teachers.items()
            },
            **{
                ready_file(kind): encode_signal(embeddings)
                for kind, embeddings in (ready.embeddings if ready else {}).items()
            },
            **{f"view{i:02d}.png": encode_png(image) for i, image in enumerate(recorded.images)},
        }

    def _captions(self, pair: Pair) -> list[str]:
        """Return the data set's captions, and for training also prompts with the label.

        Validation samples get these prompts only if they have no caption. Test samples never do:
        a caption with the class would give the answer away.
        """
        may_be_named = pair.split == "train" or (pair.split == "val" and not pair.texts)
        if not (self.config.label_captions and may_be_named and pair.label):
            return list(pair.texts)
        return [*pair.texts, *class_prompts(pair.label, self.signal.kind.templates)]
