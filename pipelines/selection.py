"""Which objects of a mirror are used, and on which side of the split each one stands.

Reads     object records and a `Selection`.
Promises  the same objects and sides for the same records and selection, whatever their order;
          no object on two sides; the class shares of every side alike.

Objects are ranked by a hash of (seed, purpose, uid), never by a shuffle: the rank of one object
does not depend on the others. Within a class of n objects the first ranks are test, the last are
validation, the rest train. Adding an object to a class therefore moves at most one other object
across each of the two borders, and none in other classes; a shuffle would move about half.
Two uids may hold the same GLB bytes. That shows only once the files are fetched, so a duplicate
across sides cannot be ruled out here: compare the sha256 of the fetched objects.
"""

import logging
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from math import floor
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, field_validator

from pipelines.mirror import ObjectRecord
from pipelines.splits import Split, ranked
from vitlens_core.errors import ConfigError

logger = logging.getLogger(__name__)

LICENCES = ("by", "by-nc", "by-nc-sa", "by-sa", "cc0")
UNLABELLED = "(unlabelled)"


class Selection(BaseModel):
    """What to take from a mirror and how much of it to hold out. Filters add up (and)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    classes: tuple[str, ...] | None = Field(
        None, min_length=1, description="LVIS classes to keep; all when absent"
    )
    licences: tuple[str, ...] | None = Field(
        None,
        min_length=1,
        description=f"licences to keep, of {', '.join(LICENCES)}; all when absent",
    )
    uids: tuple[str, ...] | None = Field(
        None,
        min_length=1,
        description="objects to keep: a list, or the path of a text file with one uid a line",
    )
    max_per_class: int | None = Field(None, ge=1, description="most objects taken of one class")
    count: int | None = Field(
        None, ge=1, description="most objects in all; classes take turns until it is reached"
    )
    labelled_only: bool = Field(True, description="leave out objects without an LVIS class")
    held_out_fraction: float = Field(
        1 / 3, gt=0, lt=1, description="share of each class that is test, in (0, 1)"
    )
    validation_fraction: float = Field(
        0.15, ge=0, lt=1, description="share of each class's other objects that is val, in [0, 1)"
    )
    min_per_class: int = Field(
        3, ge=3, description="classes with fewer objects are train only: nothing is held out"
    )
    seed: int = Field(0, description="another seed, another choice and another split")

    @field_validator("uids", mode="before")
    @classmethod
    def _read_uid_file(cls, value: Any) -> Any:
        if not isinstance(value, str | Path):
            return value
        try:
            lines = Path(value).read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise ValueError(f"no readable text file of uids at {value}: {error}") from error
        return tuple(uid for line in lines if (uid := line.partition("#")[0].strip()))


@dataclass(frozen=True)
class SelectedObject:
    """One object to use, and its side of the split."""

    record: ObjectRecord
    split: Split


def select(records: Iterable[ObjectRecord], selection: Selection) -> list[SelectedObject]:
    """Filter, cap and split `records`; sorted by uid.

    Every class of at least `min_per_class` objects gets test and train objects, and val ones
    unless `validation_fraction` is 0. Smaller classes are kept for training and logged.

    Raises:
        ConfigError: a class, licence or uid no record has, or nothing left to select.
    """
    by_uid = {record.uid: record for record in records}
    _refuse_unknown(by_uid, selection)
    by_class = defaultdict(list)
    for record in by_uid.values():
        if _passes(record, selection):
            by_class[record.label or UNLABELLED].append(record.uid)
    sides = {}
    for uids in _capped(by_class, selection).values():
        sides.update(_split_class(uids, selection))
    if not sides:
        raise ConfigError(_nothing_left(by_uid.values(), selection))
    selected = [SelectedObject(by_uid[uid], sides[uid]) for uid in sorted(sides)]
    _report_small_classes(selected)
    return selected


def split_counts(selected: Iterable[SelectedObject]) -> dict[str, Counter[Split]]:
    """Class → objects on each side, sorted by class; unlabelled objects count as one class."""
    counts: dict[str, Counter[Split]] = defaultdict(Counter)
    for item in selected:
        counts[item.record.label or UNLABELLED][item.split] += 1
    return dict(sorted(counts.items()))


def _passes(record: ObjectRecord, selection: Selection) -> bool:
    wanted = (
        (selection.classes, record.label),
        (selection.licences, record.licence),
        (selection.uids, record.uid),
    )
    if selection.labelled_only and record.label is None:
        return False
    return all(choices is None or value in choices for choices, value in wanted)


def _capped(by_class: dict[str, list[str]], selection: Selection) -> dict[str, list[str]]:
    """The objects of each class that `max_per_class` and `count` leave."""
    turns = []
    for label, uids in by_class.items():
        order = ranked(uids, selection.seed, "choice")[: selection.max_per_class]
        turns += [(turn, label, uid) for turn, uid in enumerate(order)]
    kept = defaultdict(list)
    for _, label, uid in sorted(turns)[: selection.count]:
        kept[label].append(uid)
    return kept


def _split_class(uids: list[str], selection: Selection) -> dict[str, Split]:
    # Ranked for another purpose than the choice: else a cap would keep test objects only.
    order = ranked(uids, selection.seed, "split")
    size = len(order)
    if size < selection.min_per_class:
        return dict.fromkeys(order, "train")
    tests = min(_share(size, selection.held_out_fraction), size - 2)
    vals = 0
    if selection.validation_fraction > 0:
        vals = min(_share(size - tests, selection.validation_fraction), size - tests - 1)
    return {
        uid: "test" if rank < tests else "val" if rank >= size - vals else "train"
        for rank, uid in enumerate(order)
    }


def _share(size: int, fraction: float) -> int:
    """Nearest whole number of objects, one at least."""
    return max(1, floor(size * fraction + 0.5))


def _refuse_unknown(by_uid: dict[str, ObjectRecord], selection: Selection) -> None:
    labels = {record.label for record in by_uid.values() if record.label is not None}
    licences = {record.licence for record in by_uid.values() if record.licence is not None}
    _refuse("class", selection.classes, labels)
    _refuse("licence", selection.licences, licences | set(LICENCES))
    _refuse("uid", selection.uids, by_uid)


def _refuse(kind: str, asked: Collection[str] | None, valid: Collection[str]) -> None:
    unknown = sorted(set(asked or ()).difference(valid))
    if not unknown:
        return
    choices = sorted(valid)
    near = get_close_matches(unknown[0].lower().replace(" ", "_"), choices)
    shown = ", ".join(near or choices[:20])
    listing = f"did you mean {shown}?" if near else f"the first of {len(choices)}: {shown}"
    raise ConfigError(
        f"{len(unknown)} unknown {kind} in the selection, such as {unknown[0]!r}; {listing}"
    )


def _nothing_left(records: Collection[ObjectRecord], selection: Selection) -> str:
    asked = selection.model_dump(exclude_defaults=True, exclude={"uids"})
    labelled = sum(record.label is not None for record in records)
    return (
        f"the selection {asked} keeps none of the mirror's {len(records)} objects "
        f"({labelled} of them labelled); loosen its filters"
    )


def _report_small_classes(selected: list[SelectedObject]) -> None:
    small = [label for label, sides in split_counts(selected).items() if not sides["test"]]
    if small:
        logger.warning(
            "%d classes have too few objects to hold any out and are train only: %s",
            len(small),
            ", ".join(small),
        )
