"""step: declares the step `objects` and its settings; `job` does the work."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from pipelines.execution.step import Step
from vitlens_core import caps
from vitlens_core.readers.placing import Up

Layout = Literal[
    "auto", "objaverse", "folder", "shapenet", "abo", "3d-future", "kicad", "objaverse-xl"
]
LICENCES = ("by", "by-nc", "by-nc-sa", "by-sa", "cc0")


class Selection(BaseModel):
    """What to take from a mirror and how much to hold out. An object must pass all filters."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    classes: tuple[str, ...] | None = Field(
        None, min_length=1, description="LVIS classes to keep; unset: all"
    )
    licences: tuple[str, ...] | None = Field(
        None,
        min_length=1,
        description=f"licences to keep, of {', '.join(LICENCES)}; unset: all",
    )
    uids: tuple[str, ...] | None = Field(
        None,
        min_length=1,
        description="objects to keep: a list, or the path of a file: text with one uid a line, or "
        "a JSON list of uids or of objects with `uid` or `id`",
    )
    held_out_uids: tuple[str, ...] | None = Field(
        None,
        min_length=1,
        description="objects of the test split, which are never trained on, such as those of a "
        "benchmark: a list, or a file as for uids. Then no others are tested",
    )
    max_per_class: int | None = Field(None, ge=1, description="most objects taken of one class")
    count: int | None = Field(
        None, ge=1, description="most objects in total, taken from each class in turn"
    )
    labelled_only: bool = Field(True, description="leave out objects without an LVIS class")
    train_labelled: bool = Field(
        True,
        description="whether objects with an LVIS class are trained on; off: all of them are held "
        "out, so that no object of the LVIS benchmark is seen in training",
    )
    held_out_fraction: float = Field(
        1 / 3,
        gt=0,
        lt=1,
        description="share of each class in the test split, in (0, 1), if no uids are stated; no "
        "matter where train_labelled is off, which holds out all",
    )
    validation_fraction: float = Field(
        0.15, ge=0, lt=1, description="share of a class's other objects in the val split, in [0, 1)"
    )
    min_per_class: int = Field(
        3, ge=3, description="classes with fewer objects are in the train split only"
    )
    seed: int = Field(0, description="decides which objects are chosen and how they are split")

    @field_validator("uids", "held_out_uids", mode="before")
    @classmethod
    def _read_uid_file(cls, value: object) -> object:
        if not isinstance(value, str | Path):
            return value
        try:
            text = Path(value).read_text(encoding="utf-8")
            if Path(value).suffix.lower() == ".json":
                return _uids_of_json(caps.parse_json(text))
        except (OSError, ValueError) as error:
            raise ValueError(f"no readable file of uids at {value}: {error}") from error
        return tuple(uid for line in text.splitlines() if (uid := line.partition("#")[0].strip()))

    @model_validator(mode="after")
    def _one_way_to_hold_out(self) -> Selection:
        if self.held_out_uids and "held_out_fraction" in self.model_fields_set:
            raise ValueError("held_out_fraction and held_out_uids exclude each other; state one")
        if not self.train_labelled and self.labelled_only:
            raise ValueError(
                "train_labelled is off and labelled_only is on: no object would be trained on"
            )
        return self


def _uids_of_json(content: object) -> tuple[str, ...]:
    """Return the uids of a JSON list, as OpenShape publishes them (`ValueError`: no such list)."""
    if not isinstance(content, list):
        raise ValueError(f"expected a list, found {type(content).__name__}")
    uids = [
        entry.get("uid", entry.get("id")) if isinstance(entry, dict) else entry for entry in content
    ]
    if strange := [uid for uid in uids if not isinstance(uid, str) or not uid]:
        raise ValueError(f"expected uids, or objects with `uid` or `id`; found {strange[0]!r}")
    return tuple(dict.fromkeys(uids))


class MirrorSettings(BaseModel):
    """A place with objects, and what it does not state of them itself."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    mirror: str = Field(
        "embedded",
        description="`embedded` (the shipped objects), `objaverse`, a folder or fsspec URL in its "
        "layout, or any folder of objects",
    )
    layout: Layout = Field(
        "auto",
        description="how the mirror is laid out; `auto` knows Objaverse, ShapeNet, ABO, 3D-FUTURE "
        "and Objaverse-XL by their lists, and takes any other folder as one of any objects",
    )
    table: str | None = Field(
        None,
        description="of a folder: table in it (CSV, TSV, JSON, JSON Lines, Parquet) with the "
        "column file or uid, and any of label, text, name, tags, licence, creator",
    )
    folder_classes: bool = Field(
        True, description="of a folder: whether the first folder is the class, if no table has one"
    )
    up: Up | None = Field(
        None,
        description="of a folder: axis of its files that points up (x, y, z, -x, -y, -z); unset: "
        "as each format has it (z in STEP and 3MF, stated in COLLADA, else y)",
    )
    unit_m: float = Field(
        1.0, gt=0, description="of a folder: unit of OBJ, PLY, STL and OFF, which state none [m]"
    )
    licence: str | None = Field(
        None, description="of a folder: licence of objects for which its table states none"
    )
    prefix: str = Field(
        "", pattern=r"^[A-Za-z0-9_-]{0,16}$", description="of a folder: put before its uids"
    )


class CaptionTable(BaseModel):
    """Texts by uid, as Cap3D, ULIP-2 and others publish them."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: str = Field(description="a CSV, TSV, JSON ({uid: text or texts}) or Parquet file")
    key: str = Field("uid", description="column with the uid")
    texts: tuple[str, ...] | None = Field(
        None, min_length=1, description="columns with texts or lists of texts; unset: all others"
    )
    names: tuple[str, ...] | None = Field(
        None,
        min_length=2,
        description="columns of a CSV or TSV without a line of names: [uid, text] for Cap3D",
    )
    weight: float = Field(
        1.0,
        gt=0,
        description="how often a caption of this table is drawn in training, relative to 1 for "
        "those made of the object's name, tags and class together",
    )
    most: int = Field(16, ge=1, description="most texts of an object that are kept")
    fewest_words: int = Field(1, ge=1, description="words that a text must have")


class ObjectsConfig(Selection, MirrorSettings):
    """Which objects are used, and from which mirrors."""

    more: dict[str, MirrorSettings] = Field(
        {}, description="further mirrors by name, each with its own settings"
    )
    captions: dict[str, CaptionTable] = Field(
        {}, description="tables of captions by name; each object's go where the object goes"
    )
    names_dropped: str | None = Field(
        None,
        description="table of objects whose names say nothing, as OpenShape's gpt4_filtering.json "
        "({uid: {flag: N}}): their names make no caption",
    )
    objects_per_shard: int = Field(512, ge=1, description="most objects of a shard")
    mb_per_shard: int = Field(
        2048,
        ge=1,
        description="most megabytes of a shard, by the sizes that the annotations state; a larger "
        "object has a shard of its own [MB]",
    )
    check_size: bool = Field(
        True, description="quarantine a file whose size differs from its annotation"
    )
    read_s: float = Field(
        120, gt=0, description="most seconds to read an object that is no GLB [s]"
    )
    read_mb: int = Field(
        4096, ge=64, description="most memory to read an object that is no GLB [MB]"
    )

    def mirrors(self) -> dict[str, MirrorSettings]:
        """Return the settings of every mirror by name; the first has the name ""."""
        own = self.model_dump(include=set(MirrorSettings.model_fields))
        return {"": MirrorSettings.model_validate(own), **self.more}


STEP = Step(
    name="objects",
    version=2,
    description="The selected objects of mirrors as GLB, whole and checked, split by object.",
    made_by="Ray Data",
    reads="mirrors: the shipped one, Objaverse's layout at any fsspec URL, or folders of objects "
    "in any common format",
    writes={
        "<split>-NNNNN.tar": "per object `<uid>.glb` (y up, metres) and `<uid>.json` (name, tags, "
        "categories, captions, label, licence, creator, mirror, split, sha256)",
    },
    promises="No object is in two splits, and a shard has objects of one split. An object that "
    "cannot be fetched is quarantined with its reason; if the mirror stops delivering, the job "
    "ends and can be continued later. The driver needs some 200 bytes of memory per object: a "
    "worker reads the records of its objects from the plan of its shard.",
)
