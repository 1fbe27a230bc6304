"""VGGSound: clips of YouTube in which the thing that sounds is seen.

Reads     vggsound.csv; later one sound file per clip.
Promises  the published sides.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, Literal

from pydantic import Field

from pipelines.source.base import Pair, SourceSettings
from pipelines.source.clips import (
    ClipTemplate,
    MidFrames,
    checked_youtube_id,
    read_rows,
    take_note,
    whole_number,
)
from pipelines.store.splits import Split
from vitlens_core.errors import ConfigError

COLUMNS = ("youtube_id", "start", "label", "split")
_SPLITS: dict[str, Split] = {"train": "train", "test": "test"}


class VggSound(SourceSettings):
    """VGGSound: some 200,000 clips of 10 s in 309 classes.

    Layout (the CSV as published, without a header; the sounds are fetched by each user):

        vggsound.csv                                youtube id,start second,label,train or test
        audio/<youtube_id>_<start, 6 digits>.wav    `clip` names them otherwise
        images/<youtube_id>_<start, 6 digits>.jpg   optional: the video's middle frame

    Licence: CC BY 4.0 for the list; the recordings are their uploaders'. Source: Chen et al.,
    "VGGSound: A Large-Scale Audio-Visual Dataset", ICASSP 2020.

    Protocol: top-1 over 309 classes on the published test clips that can still be fetched; give
    their number: ViT-Lens-L 31.7, ImageBind 27.8, three clips of 5 s each. AudioCaps and AudioSet
    share videos with it. Some videos give several clips; if a video is in both published splits,
    its clips stay there.
    """

    modalities: ClassVar[tuple[str, ...]] = ("audio",)

    kind: Literal["vggsound"] = "vggsound"
    clip: ClipTemplate = Field(
        "audio/{youtube_id}_{start:06d}.wav",
        description="path of a clip in root, of split, youtube_id and start in seconds",
    )

    def pairs(self) -> Iterator[Pair]:
        """Clips in the order of vggsound.csv. Raises ConfigError."""
        frames = MidFrames(self.folder())
        seen: dict[str, str] = {}
        for where, row in read_rows(self.folder() / "vggsound.csv", COLUMNS, header=False):
            youtube_id = checked_youtube_id(row["youtube_id"], where)
            start = whole_number(row["start"], where, "a start in seconds")
            key = f"{youtube_id}_{start:06d}"
            take_note(seen, key, where)
            split = _SPLITS.get(row["split"])
            label = row["label"].strip().lower()
            if split is None or not label:
                raise ConfigError(
                    f"{where}: expected a label, then train or test, found {row['label']!r}, "
                    f"{row['split']!r}"
                )
            clip = self.clip.format(split=split, youtube_id=youtube_id, start=start)
            yield Pair(
                key=key,
                signal=clip,
                images=frames.of(clip),
                label=label,
                split=split,
                group=f"{youtube_id} {split}",
                name=f"{label}, {youtube_id}",
            )
