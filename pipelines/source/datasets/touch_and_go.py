"""Touch and Go: gel pictures and video frames of people who touch what they find."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import ClassVar, Literal

from pipelines.source.base import Pair, SourceSettings
from pipelines.store.splits import Split
from vitlens_core.errors import ConfigError

MATERIALS = (
    "concrete",
    "plastic",
    "glass",
    "wood",
    "metal",
    "brick",
    "tile",
    "leather",
    "synthetic fabric",
    "natural fabric",
    "rubber",
    "paper",
    "tree",
    "grass",
    "soil",
    "rock",
    "gravel",
    "sand",
    "plants",
    "others",
)
"""Material of each label number; −1 is a touch whose material its annotators left open."""

LISTS: dict[Split, str] = {"train": "pretrain.txt", "test": "test.txt"}
_LINE = re.compile(r"(\d{8}_\d{6})/(\d{10})\.jpg,(-?\d+)")
_UNKNOWN = -1
_SAME_TOUCH_FRAMES = 10


class TouchAndGo(SourceSettings):
    """Touch and Go: GelSight touches of 20 materials, each with the frame of the video.

    Layout (`dataset` once the publishers' extract_frame.py has cut the videos into frames; the
    two lists are those of the authors' code, "Visuo-tactile contrastive learning/dataset"):

        dataset/<YYYYMMDD_HHMMSS>/{video_frame,gelsight_frame}/NNNNNNNNNN.jpg
        pretrain.txt, test.txt    <video>/NNNNNNNNNN.jpg,<number of the material>

    Protocol: ViT-Lens trains on pretrain.txt (some 92,000 frames) and reports material top-1 on
    test.txt (some 30,000), with "others" as the twentieth class. The lists share videos, but not
    touches: frames fewer than 10 apart are one touch, and a touch may be in one split only. The
    test therefore has known places, and neighbouring frames are near copies, so its figure says
    little about new places. Frames of an undecided material (−1) train without a label.

    Licence: none was found stated with the data; ask its authors.
    Source: Yang et al., NeurIPS 2022 (arXiv 2211.12498), https://touch-and-go.github.io;
    ViT-Lens (arXiv 2311.16081) §4.1.
    """

    modalities: ClassVar[tuple[str, ...]] = ("tactile",)
    kind: Literal["touch_and_go"] = "touch_and_go"

    def pairs(self) -> Iterator[Pair]:
        folder = self.folder()
        rows = _unique([row for side in LISTS for row in _read_list(folder, side)])
        touches = _touches(rows)
        for row in rows:
            video = f"dataset/{row.video}"
            yield Pair(
                key=f"{row.video}-{row.frame:010d}",
                signal=f"{video}/gelsight_frame/{row.frame:010d}.jpg",
                images=(f"{video}/video_frame/{row.frame:010d}.jpg",),
                label=row.material,
                split=row.side,
                group=touches[row],
                name=f"{row.video}, frame {row.frame}",
            )


@dataclass(frozen=True, order=True)
class _Row:
    """One line of a list; `where` names it in messages."""

    video: str
    frame: int
    material: str | None
    side: Split
    where: str


def _read_list(folder: Path, side: Split) -> list[_Row]:
    path = folder / LISTS[side]
    if not path.is_file():
        raise ConfigError(
            f"expected the {side} list at {path}, found no file; copy it from "
            "https://github.com/fredfyyang/Touch-and-Go, beside the folder dataset"
        )
    lines = path.read_text().splitlines()
    if not lines:
        raise ConfigError(f"{path} is empty; expected <video>/<frame>.jpg,<number> in each line")
    return [_parse(line, side, f"{path}:{number}") for number, line in enumerate(lines, start=1)]


def _parse(line: str, side: Split, where: str) -> _Row:
    fields = _LINE.fullmatch(line.strip())
    if not fields:
        raise ConfigError(
            f"{where}: found {line[:60]!r}; expected YYYYMMDD_HHMMSS/NNNNNNNNNN.jpg,<number of "
            "the material>"
        )
    video, frame, number = fields[1], int(fields[2]), int(fields[3])
    if not _UNKNOWN <= number < len(MATERIALS):
        raise ConfigError(
            f"{where}: found material {number}; expected {_UNKNOWN}..{len(MATERIALS) - 1}"
        )
    material = None if number == _UNKNOWN else MATERIALS[number]
    return _Row(video, frame, material, side, where)


def _unique(rows: list[_Row]) -> list[_Row]:
    """Sort rows by video and frame, and refuse a frame that is listed twice."""
    ordered = sorted(rows, key=lambda row: (row.video, row.frame))
    for one, other in pairwise(ordered):
        if (one.video, one.frame) == (other.video, other.frame):
            raise ConfigError(
                f"{other.where}: {other.video}/{other.frame:010d}.jpg is already in {one.where}; "
                "expected every frame once, in one split"
            )
    return ordered


def _touches(rows: list[_Row]) -> dict[_Row, str]:
    """The touch of each row: its video and its first listed frame."""
    touches: dict[_Row, str] = {}
    previous, touch = None, ""
    for row in rows:
        near = previous is not None and row.frame - previous.frame < _SAME_TOUCH_FRAMES
        if previous is None or row.video != previous.video or not near:
            touch = f"{row.video}-{row.frame:010d}"
        touches[row] = touch
        previous = row
    return touches
