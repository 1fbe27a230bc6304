"""Clotho: field recordings with five captions each.

Reads     clotho_captions_*.csv, and clotho_metadata_*.csv if there; later one WAV per clip.
Promises  the published sides; a file name stands on one of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar, Literal

from pydantic import Field

from pipelines.source.base import Pair, SourceSettings
from pipelines.source.clips import key_of, read_rows, take_note
from pipelines.store.splits import SPLITS, Split
from vitlens_core.errors import ConfigError

CAPTIONS = tuple(f"caption_{number}" for number in range(1, 6))
_PARTS: dict[Split, str] = {"train": "development", "val": "validation", "test": "evaluation"}


class Clotho(SourceSettings):
    """Clotho 2.1: 5,929 recordings of 15 to 30 s from Freesound, five captions each.

    Layout (the files of Zenodo record 4783391, its archives unpacked):

        clotho_captions_<part>.csv      file_name,caption_1,…,caption_5
        clotho_metadata_<part>.csv      optional: …,manufacturer,license (Latin-1)
        <part>/<file_name>              part: development 3,839, validation 1,045, evaluation 1,045

    Licence: captions for non-commercial research (Tampere University), each recording under its
    own Creative Commons licence, which the metadata state. Source: Drossos et al., "Clotho: An
    Audio Captioning Dataset", ICASSP 2020.

    Protocol: retrieval over the 1,045 evaluation clips with all five captions: ViT-Lens-L R@1
    8.1, R@10 31.2; ImageBind 6.0, 28.4; six clips of 5 s each. No images and no labels.
    """

    modalities: ClassVar[tuple[str, ...]] = ("audio",)

    kind: Literal["clotho"] = "clotho"
    splits: tuple[Split, ...] = Field(SPLITS, min_length=1, description="parts that are read")

    def pairs(self) -> Iterator[Pair]:
        """Clips by part, in the order of its CSV. Raises ConfigError."""
        folder = self.folder()
        seen: dict[str, str] = {}
        for split in self.splits:
            part = _PARTS[split]
            rights = _rights(folder / f"clotho_metadata_{part}.csv")
            columns = ("file_name", *CAPTIONS)
            for where, row in read_rows(folder / f"clotho_captions_{part}.csv", columns):
                name = row["file_name"]
                take_note(seen, name, where)
                texts = tuple(row[column].strip() for column in CAPTIONS)
                if not name or not all(texts):
                    raise ConfigError(f"{where}: expected a file name and five captions")
                licence, creator = rights.get(name, (None, None))
                yield Pair(
                    key=key_of(name.removesuffix(".wav")),
                    signal=f"{part}/{name}",
                    texts=texts,
                    split=split,
                    name=name.removesuffix(".wav"),
                    licence=licence,
                    creator=creator,
                )


def _rights(path: Path) -> dict[str, tuple[str, str]]:
    """Licence and creator of each file; nothing without the metadata."""
    if not path.is_file():
        return {}
    columns = ("file_name", "manufacturer", "license")
    rows = read_rows(path, columns, encoding="latin-1")
    return {row["file_name"]: (row["license"], row["manufacturer"]) for _, row in rows}
