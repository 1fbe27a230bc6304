"""AudioCaps: captions of ten-second clips of AudioSet.

Reads     train.csv, val.csv, test.csv; later one sound file per clip.
Promises  one pair per clip with all its captions; a clip is in one split.
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
from pipelines.store.splits import SPLITS, Split
from vitlens_core.errors import ConfigError

COLUMNS = ("audiocap_id", "youtube_id", "start_time", "caption")


class AudioCaps(SourceSettings):
    """AudioCaps: clips of 10 s from YouTube, each with what people heard in it.

    Layout (the CSVs as published; the sounds are fetched by each user from YouTube):

        train.csv, val.csv, test.csv        audiocap_id,youtube_id,start_time,caption
        audio/<split>/<youtube_id>_<start_time>.wav     `clip` names them otherwise
        images/<youtube_id>_<start_time>.jpg            optional: the video's middle frame

    Licence: captions for academic use only; the recordings are their uploaders'. Source: Kim et
    al., "AudioCaps: Generating Captions for Audios in The Wild", NAACL 2019.

    Protocol: retrieval over the test clips, each with five captions (a training clip has one).
    Figures are published over 963 of the 975 test clips (those that could be fetched) and over
    813 (of a list without VGGSound's clips, Oncescu et al. 2021): give the number with every
    figure. ViT-Lens-L R@1 14.4, R@10 54.9; ImageBind 9.3, 42.3; three clips of 5 s each.
    """

    modalities: ClassVar[tuple[str, ...]] = ("audio",)

    kind: Literal["audiocaps"] = "audiocaps"
    splits: tuple[Split, ...] = Field(SPLITS, min_length=1, description="lists that are read")
    clip: ClipTemplate = Field(
        "audio/{split}/{youtube_id}_{start}.wav",
        description="path of a clip in root, of split, youtube_id and start in seconds",
    )

    def pairs(self) -> Iterator[Pair]:
        """Clips by list, in the order of their first captions. Raises ConfigError."""
        frames = MidFrames(self.folder())
        sides: dict[str, Split] = {}
        for split in self.splits:
            for (youtube_id, start), captions in self._clips(split).items():
                if sides.setdefault(youtube_id, split) != split:
                    raise ConfigError(
                        f"{split}.csv names {youtube_id}, which is in {sides[youtube_id]}.csv "
                        "too; remove it from one of them"
                    )
                clip = self.clip.format(split=split, youtube_id=youtube_id, start=start)
                yield Pair(
                    key=f"{youtube_id}_{start}",
                    signal=clip,
                    images=frames.of(clip),
                    texts=tuple(captions),
                    split=split,
                    group=youtube_id,
                    name=captions[0],
                )

    def _clips(self, split: Split) -> dict[tuple[str, int], list[str]]:
        """The captions of each clip of a list, by YouTube id and start in seconds."""
        clips: dict[tuple[str, int], list[str]] = {}
        seen: dict[str, str] = {}
        for where, row in read_rows(self.folder() / f"{split}.csv", COLUMNS):
            take_note(seen, row["audiocap_id"], where)
            youtube_id = checked_youtube_id(row["youtube_id"], where)
            start = whole_number(row["start_time"], where, "a start in seconds")
            caption = row["caption"].strip()
            if not caption:
                raise ConfigError(f"{where}: expected a caption, found none")
            clips.setdefault((youtube_id, start), []).append(caption)
        return clips
