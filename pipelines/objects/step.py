"""step: declares the step `objects` and its settings; `job` does the work."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from pipelines.execution.step import Step
from vitlens_core import caps

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
    held_out_fraction: float = Field(
        1 / 3,
        gt=0,
        lt=1,
        description="share of each class in the test split, in (0, 1), if no uids are stated",
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
    def _read_uid_file(cls, value: Any) -> Any:
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


class ObjectsConfig(Selection):
    """Which objects are used, and from which mirror."""

    mirror: str = Field(
        "embedded",
        description="`embedded` (the shipped objects), `objaverse`, or a folder or fsspec URL",
    )
    objects_per_shard: int = Field(512, ge=1, description="most objects of a shard")
    check_size: bool = Field(
        True, description="quarantine a file whose size differs from its annotation"
    )


STEP = Step(
    name="objects",
    version=1,
    description="The selected GLBs of a mirror, whole and checked, split by object.",
    made_by="Ray Data",
    reads="an Objaverse mirror: the shipped one, a folder, or any fsspec URL",
    writes={
        "<split>-NNNNN.tar": "per object `<uid>.glb` and `<uid>.json` (name, tags, categories, "
        "label, licence, creator, split, sha256)",
    },
    promises="No object is in two splits, and a shard has objects of one split. An object that "
    "cannot be fetched is quarantined with its reason; if the mirror stops delivering, the job "
    "ends and can be continued later. The driver needs some 200 bytes of memory per object: a "
    "worker reads the records of its objects from the plan of its shard.",
)
