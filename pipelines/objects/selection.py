"""selection: chooses the objects of a mirror that are used, and divides them into splits.

Reads     object records and a `Selection`.
Promises  the same objects and splits for the same records and selection, in whatever order they
          come; no object in two splits; every split with the same shares of classes; an object
          takes some 100 bytes of memory, and its record lies on the disk.

Objects are ranked by a hash of (seed, purpose, uid), never by a shuffle: the rank of one object
does not depend on the others. Within a class of n objects the first ranks are test, the last are
validation, the rest train. Adding an object to a class therefore moves at most one other object
across each of the two borders, and none in other classes; a shuffle would move about half.
Two uids may have the same GLB bytes. That shows only once the files are fetched, so a duplicate
across splits cannot be excluded here: compare the sha256 of the fetched objects.
"""

import logging
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from math import floor

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.objects.records import RecordTable
from pipelines.objects.step import LICENCES, Selection
from pipelines.store.splits import SPLITS, Split, hash_order, pack
from vitlens_core.errors import ConfigError, unknown

logger = logging.getLogger(__name__)


UNLABELLED = "(unlabelled)"


@dataclass(frozen=True)
class Selected:
    """The objects to use, sorted by uid; arrays of one entry each.

    Attributes:
        uids: the uids as bytes.
        rows: row of each object in the table of records.
        labels: indices into `names`.
        sides: indices into `SPLITS`.
    """

    uids: np.ndarray
    rows: np.ndarray
    labels: np.ndarray
    sides: np.ndarray
    names: list[str]

    def __len__(self) -> int:
        return len(self.uids)


@dataclass(frozen=True)
class _Listed:
    """What the selection needs of the records: arrays of one entry each, sorted by uid."""

    uids: np.ndarray
    rows: np.ndarray
    labels: np.ndarray  # indices into `names`
    passed: np.ndarray
    names: list[str]
    licences: set[str]


def select(records: RecordTable, selection: Selection) -> Selected:
    """Filter, cap and split `records`; the result is sorted by uid.

    Every class of at least `min_per_class` objects gets test and train objects, and val objects
    unless `validation_fraction` is 0. Smaller classes are used for training only, and logged.
    Objects without a class are trained on. If uids are held out, they are the test objects. If
    labelled objects are not trained on, those that are not for validation are for test.

    Raises:
        ConfigError: no record has a class, licence or uid that is asked for, or no object is left.
    """
    listed = _listed(records, selection)
    _refuse_unknown(listed, selection)
    sides = np.full(len(listed.uids), -1, np.int8)
    held_out = None
    if selection.held_out_uids is not None:
        held_out = np.isin(listed.uids, pack(selection.held_out_uids))
    for members in _capped(listed, selection):
        labelled = listed.names[listed.labels[members[0]]] != UNLABELLED
        sides[members] = SPLITS.index("train")
        # Without a class nothing can be asked of objects: all train.
        if labelled and held_out is None:
            _split_class(listed.uids, members, selection, sides)
        elif labelled and held_out is not None:
            _hold_out_for_validation(listed.uids, members[~held_out[members]], selection, sides)
        if labelled and not selection.train_labelled:
            sides[members[sides[members] == SPLITS.index("train")]] = SPLITS.index("test")
    if held_out is not None:
        sides[held_out & (sides >= 0)] = SPLITS.index("test")
    chosen = np.flatnonzero(sides >= 0)
    if not len(chosen):
        raise ConfigError(_nothing_left(listed, selection))
    selected = Selected(
        listed.uids[chosen],
        listed.rows[chosen],
        listed.labels[chosen],
        sides[chosen],
        listed.names,
    )
    _report_small_classes(selected)
    return selected


def split_counts(selected: Selected) -> dict[str, Counter[Split]]:
    """Count the objects of each class in each split; unlabelled objects are one class."""
    counts: dict[str, Counter[Split]] = defaultdict(Counter)
    for label, side in zip(selected.labels, selected.sides, strict=True):
        counts[selected.names[label]][SPLITS[side]] += 1
    return dict(sorted(counts.items()))


def _listed(records: RecordTable, selection: Selection) -> _Listed:
    coded = records.column("label").fill_null(UNLABELLED).combine_chunks().dictionary_encode()
    uids, rows, times = np.unique(pack(records.uids()), return_index=True, return_counts=True)
    if (times > 1).any():
        twice = uids[times > 1]
        raise ConfigError(
            f"{len(twice)} uids occur twice in the mirrors, such as {twice[0].decode()!r}; give "
            "one of the mirrors a prefix (objects.more.<name>.prefix)"
        )
    return _Listed(
        uids=uids,
        rows=rows,
        labels=coded.indices.to_numpy()[rows],
        passed=_passed(records, selection)[rows],
        names=coded.dictionary.to_pylist(),
        licences=set(records.column("licence").unique().to_pylist()) - {None},
    )


def _passed(records: RecordTable, selection: Selection) -> np.ndarray:
    """Return bool [n]: whether each record passes all filters."""
    passed = np.ones(len(records), bool)
    if selection.labelled_only:
        passed &= records.column("label").is_valid().to_numpy()
    filters = {
        "label": selection.classes,
        "licence": selection.licences,
        "uid": selection.uids,
    }
    for name, asked in filters.items():
        if asked is not None:
            wanted = pa.array(asked, pa.string())
            # For ty: pyarrow defines its compute functions at import, so it cannot see them.
            is_in = pc.is_in(records.column(name), value_set=wanted)  # ty: ignore[missing-attribute]
            passed &= is_in.to_numpy()
    return passed


def _capped(listed: _Listed, selection: Selection) -> Iterator[np.ndarray]:
    """Yield the objects of each class that `max_per_class` and `count` leave, as indices."""
    by_class = list(_by_class(listed.labels, np.flatnonzero(listed.passed)))
    if selection.max_per_class is None and selection.count is None:
        yield from by_class
        return
    by_class.sort(key=lambda members: listed.names[listed.labels[members[0]]])
    orders = [
        members[_ranks(listed.uids[members], selection.seed, "choice")][: selection.max_per_class]
        for members in by_class
    ]
    if not orders:
        return
    members = np.concatenate(orders)
    turns = np.concatenate([np.arange(len(order)) for order in orders])
    classes = np.repeat(np.arange(len(orders)), [len(order) for order in orders])
    # By turn first: the first object of every class, then the second, until `count` is reached.
    taken = members[np.lexsort((members, classes, turns))[: selection.count]]
    yield from _by_class(listed.labels, np.sort(taken))


def _by_class(labels: np.ndarray, members: np.ndarray) -> Iterator[np.ndarray]:
    """Yield the `members` of one class after the other, each in the given order."""
    if not len(members):
        return
    ordered = members[np.argsort(labels[members], kind="stable")]
    yield from np.split(ordered, np.flatnonzero(np.diff(labels[ordered])) + 1)


def _split_class(
    uids: np.ndarray, members: np.ndarray, selection: Selection, sides: np.ndarray
) -> None:
    """Write the side of every member into `sides`."""
    sides[members] = SPLITS.index("train")
    size = len(members)
    if size < selection.min_per_class:
        return
    tests = min(_share(size, selection.held_out_fraction), size - 2)
    order = _ordered(uids, members, selection)
    _take_validation(order[tests:], selection, sides)
    sides[order[:tests]] = SPLITS.index("test")


def _hold_out_for_validation(
    uids: np.ndarray, members: np.ndarray, selection: Selection, sides: np.ndarray
) -> None:
    """Take validation objects of a class whose test objects are listed by uid."""
    if len(members) >= selection.min_per_class:
        _take_validation(_ordered(uids, members, selection), selection, sides)


def _ordered(uids: np.ndarray, members: np.ndarray, selection: Selection) -> np.ndarray:
    # Ranked independently of the choice: with the same ranks a cap would keep test objects first.
    return members[_ranks(uids[members], selection.seed, "split")]


def _take_validation(order: np.ndarray, selection: Selection, sides: np.ndarray) -> None:
    """Put the last of the ordered objects into validation; one is left to train on."""
    if selection.validation_fraction > 0:
        count = min(_share(len(order), selection.validation_fraction), len(order) - 1)
        sides[order[len(order) - count :]] = SPLITS.index("val")


def _ranks(uids: np.ndarray, seed: int, purpose: str) -> np.ndarray:
    return hash_order(f"{seed}/{purpose}/{uid.decode()}" for uid in uids)


def _share(size: int, fraction: float) -> int:
    """Return the nearest whole number of objects, at least one."""
    return max(1, floor(size * fraction + 0.5))


def _refuse_unknown(listed: _Listed, selection: Selection) -> None:
    _refuse("class", selection.classes, set(listed.names) - {UNLABELLED})
    _refuse("licence", selection.licences, listed.licences | set(LICENCES))
    if selection.uids is not None:
        _refuse("uid", selection.uids, {uid.decode() for uid in listed.uids})
    if (
        selection.held_out_uids is not None
        and not np.isin(listed.uids, pack(selection.held_out_uids)).any()
    ):
        raise ConfigError(
            f"objects.held_out_uids: none of the {len(selection.held_out_uids)} uids is in the "
            "mirror"
        )


def _refuse(kind: str, asked: Collection[str] | None, valid: Collection[str]) -> None:
    missing = sorted(set(asked or ()).difference(valid))
    if missing:
        mistake = unknown(kind, missing[0], sorted(valid))
        raise ConfigError(f"{len(missing)} of the selection not found: {mistake}")


def _nothing_left(listed: _Listed, selection: Selection) -> str:
    asked = selection.model_dump(exclude_defaults=True, exclude={"uids", "held_out_uids"})
    unlabelled = listed.names.index(UNLABELLED) if UNLABELLED in listed.names else -1
    return (
        f"the selection {asked} keeps none of the mirror's {len(listed.uids)} objects "
        f"({np.count_nonzero(listed.labels != unlabelled)} of them labelled); loosen its filters"
    )


def _report_small_classes(selected: Selected) -> None:
    counts = split_counts(selected).items()
    small = [label for label, sides in counts if not sides["test"] and label != UNLABELLED]
    if small:
        logger.warning(
            "%d classes have too few objects to hold any out and are train only: %s",
            len(small),
            ", ".join(small),
        )
