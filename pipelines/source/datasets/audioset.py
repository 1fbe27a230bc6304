"""AudioSet: two million clips of YouTube with one or more of 527 labels.

Reads     class_labels_indices.csv and the lists in JSON; later one sound file per clip.
Promises  only labels of the class list; a clip is in one split.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import ClassVar, Literal

from pydantic import Field

from pipelines.source.base import Pair, SourceSettings
from pipelines.source.clips import MidFrames, key_of, read_rows, take_note
from pipelines.store.splits import Split
from vitlens_core import caps
from vitlens_core.errors import ConfigError

CLASSES = "class_labels_indices.csv"


class AudioSet(SourceSettings):
    """AudioSet, in the JSON lists that audio models are trained from (AST and its kin).

    Layout:

        class_labels_indices.csv        index,mid,display_name: 527 classes, as published
        balanced_train_data.json        {"data": [{"wav": path, "labels": "/m/09x0r,/m/068hy"}, …]}
        eval_data.json                  the same; `train_list` and `test_list` name others
        images/<stem of wav>.jpg        optional: the video's middle frame

    A path is relative to root, or absolute and inside it.

    Licence: CC BY 4.0 for labels; the recordings are their uploaders'. Source: Gemmeke et al.,
    "Audio Set: An ontology and human-labeled dataset for audio events", ICASSP 2017.

    Protocol: published figures are mAP over 527 classes on the evaluation clips that can still
    be fetched, with *all* labels of a clip (ViT-Lens-L 26.7, ImageBind 17.6; three clips of 5 s).
    A pair has one label, so that only clips with exactly one are classified here, and top-1 on
    those is another figure. A clip with several has them as its text. Balanced train 22,160 clips,
    evaluation 20,371; both share videos with AudioCaps and VGGSound.
    """

    modalities: ClassVar[tuple[str, ...]] = ("audio",)

    kind: Literal["audioset"] = "audioset"
    train_list: str | None = Field(
        "balanced_train_data.json", description="file in root; null: nothing is trained on"
    )
    test_list: str | None = Field("eval_data.json", description="file in root; null: no test")

    def pairs(self) -> Iterator[Pair]:
        """Clips by list, in its order. Raises ConfigError."""
        folder = self.folder()
        names = class_names(folder / CLASSES)
        frames = MidFrames(folder)
        seen: dict[str, str] = {}
        lists: tuple[tuple[Split, str | None], ...] = (
            ("train", self.train_list),
            ("test", self.test_list),
        )
        for split, file in lists:
            for where, entry in entries(self.place(file)) if file else ():
                clip = clip_path(entry["wav"], folder, where)
                video = PurePosixPath(clip).stem
                take_note(seen, video, where)
                labels = labels_of(entry["labels"], names, where)
                yield Pair(
                    key=key_of(video),
                    signal=clip,
                    images=frames.of(clip),
                    texts=(" and ".join(labels),) if len(labels) > 1 else (),
                    label=labels[0] if len(labels) == 1 else None,
                    split=split,
                    name=", ".join(labels),
                )


def class_names(path: Path) -> dict[str, str]:
    """mid → name in words."""
    names: dict[str, str] = {}
    seen: dict[str, str] = {}
    for where, row in read_rows(path, ("index", "mid", "display_name")):
        take_note(seen, row["mid"], where)
        names[row["mid"]] = row["display_name"].strip().lower()
    return names


def entries(path: Path) -> Iterator[tuple[str, dict[str, str]]]:
    """Yield the entries of a list, each with its place."""
    if not path.is_file():
        raise ConfigError(f"source.root: no file {path}; name another list, or null for none")
    try:
        content: object = caps.parse_json(caps.read_text(path, caps.LIST_BYTES, "a list"))
    except ValueError as error:
        raise ConfigError(f"{path} is not JSON: {error}") from error
    listed = content.get("data") if isinstance(content, dict) else None
    if not isinstance(listed, list):
        raise ConfigError(f'{path}: expected {{"data": [{{"wav", "labels"}}, …]}}')
    for index, entry in enumerate(listed):
        where = f"{path}, entry {index}"
        fields = entry if isinstance(entry, dict) else {}
        if not all(isinstance(fields.get(name), str) for name in ("wav", "labels")):
            raise ConfigError(f'{where}: expected texts "wav" and "labels", found {entry!r}')
        yield where, fields


def clip_path(wav: str, folder: Path, where: str) -> str:
    """A clip's path relative to the data set's folder."""
    path = PurePosixPath(wav)
    inside = not path.is_absolute() or path.is_relative_to(folder.as_posix())
    if not path.name or not inside or ".." in path.parts:
        raise ConfigError(
            f"{where}: expected a path inside {folder}, found {wav!r}; write it relative to root"
        )
    return str(path.relative_to(folder.as_posix()) if path.is_absolute() else path)


def labels_of(mids: str, names: dict[str, str], where: str) -> list[str]:
    """Return the names of a clip's labels, without repeats."""
    distinct = dict.fromkeys(mids.split(","))
    if unknown := [mid for mid in distinct if mid not in names]:
        raise ConfigError(f"{where}: labels {unknown} are not among the {len(names)} of {CLASSES}")
    return [names[mid] for mid in distinct]
