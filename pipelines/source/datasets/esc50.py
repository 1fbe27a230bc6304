"""ESC-50: environmental sounds in 50 classes and five folds.

Reads     meta/esc50.csv; later one WAV per clip.
Promises  all clips cut from one recording are in one split.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, Literal

from pydantic import Field

from pipelines.source.base import Pair, SourceSettings
from pipelines.source.clips import key_of, read_rows, take_note, whole_number
from vitlens_core.errors import ConfigError

COLUMNS = ("filename", "fold", "target", "category", "esc10", "src_file", "take")
FOLDS = (1, 2, 3, 4, 5)
_LICENCES = {"True": "CC BY 3.0", "False": "CC BY-NC 3.0"}


class Esc50(SourceSettings):
    """ESC-50: 2,000 clips of 5 s, 40 of each of 50 classes.

    Layout (the unpacked ESC-50-master.zip):

        meta/esc50.csv      filename,fold,target,category,esc10,src_file,take
        audio/*.wav         1-100032-A-0.wav: fold, Freesound id, take, target; 44.1 kHz mono

    Licence: CC BY-NC 3.0; the clips marked esc10 CC BY. Source: Piczak, "ESC: Dataset for
    Environmental Sound Classification", ACM Multimedia 2015.

    Protocol: for training within the data set, the figure is the mean of five runs that test one
    fold each (`test_folds=[1]` … `[5]`). Zero-shot, with a lens that was not trained on ESC-50, it
    is over all 2,000 clips (`test_folds=[1, 2, 3, 4, 5]`): ViT-Lens-L 75.9, ImageBind 66.9, two
    clips of 5 s each. There are no images and no captions, only labels.
    """

    modalities: ClassVar[tuple[str, ...]] = ("audio",)

    kind: Literal["esc50"] = "esc50"
    test_folds: tuple[Literal[1, 2, 3, 4, 5], ...] = Field(
        (5,), min_length=1, description="folds that are tested; the others are trained on"
    )

    def pairs(self) -> Iterator[Pair]:
        """Clips in the order of esc50.csv. Raises ConfigError."""
        seen: dict[str, str] = {}
        targets: dict[str, str] = {}
        folds: dict[str, str] = {}
        for where, row in read_rows(self.folder() / "meta" / "esc50.csv", COLUMNS):
            take_note(seen, row["filename"], where)
            fold = whole_number(row["fold"], where, "a fold")
            if fold not in FOLDS:
                raise ConfigError(f"{where}: expected a fold from 1 to 5, found {fold}")
            _same(targets, row["category"], row["target"], where, "target")
            _same(folds, row["src_file"], row["fold"], where, "fold")
            if row["esc10"] not in _LICENCES:
                raise ConfigError(f"{where}: expected esc10 True or False, found {row['esc10']!r}")
            label = row["category"].replace("_", " ").lower()
            yield Pair(
                key=key_of(row["filename"].removesuffix(".wav")),
                signal=f"audio/{row['filename']}",
                label=label,
                split="test" if fold in self.test_folds else "train",
                group=row["src_file"],
                name=f"{label}, Freesound {row['src_file']}",
                licence=_LICENCES[row["esc10"]],
            )


def _same(known: dict[str, str], name: str, value: str, where: str, what: str) -> None:
    """Raise ConfigError if an earlier row gave `name` another value."""
    if known.setdefault(name, value) != value:
        raise ConfigError(f"{where}: {name!r} has {what} {known[name]} above, {value} here")
