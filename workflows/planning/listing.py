"""listing: counts what a run would list, by split, from annotations alone.

Reads     of a mirror its two main annotation files (all of them if licences are chosen by), of a
          local data set its lists.
Promises  the selection itself divides the objects, so that a plan and a run agree; objects take
          some 200 bytes of memory each, and no object is opened.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from pipelines.config import RunConfig
from pipelines.objects.mirror import Mirror
from pipelines.objects.opening import open_mirrors
from pipelines.objects.records import ObjectRecord, RecordTable
from pipelines.objects.selection import Selected, select
from pipelines.objects.step import ObjectsConfig
from pipelines.source.job import listed as listed_pairs
from pipelines.store.home import Home
from pipelines.store.splits import SPLITS
from vitlens_core.errors import ConfigError, TransientError
from workflows.recipes import Recipe

# Objaverse 1.0, and those of its objects that LVIS labels (arXiv 2212.08051).
OBJAVERSE, OBJAVERSE_LABELLED = 798_759, 46_205


@dataclass(frozen=True)
class Counts:
    """Objects or recordings of a run.

    Attributes:
        counted_from: where the numbers come from, for people.
    """

    listed: int | None
    train: int | None
    val: int | None
    test: int | None
    counted_from: str


def counts_of(config: RunConfig, home: Home, recipe: Recipe | None) -> tuple[Counts, list[str]]:
    """Return the counts of a run, and what is missing to count it exactly.

    Args:
        recipe: the published recipe of the profile, whose numbers serve where there is no data.
    """
    try:
        if config.source is not None:
            return _of_source(config), []
        return of_objects(config.objects, home), []
    except (ConfigError, TransientError) as error:
        return _stated(config, recipe), [f"data: {error}"]


def of_objects(config: ObjectsConfig, home: Home) -> Counts:
    """Count the objects of the mirrors.

    Raises:
        ConfigError: no such mirror, or the selection asks for what it lacks.
        TransientError: a remote mirror does not answer.
    """
    with RecordTable(_records(config, home)) as records:
        selected = select(records, config)
        total = len(records)
    return of_selected(total, selected, "the mirrors' annotations")


def of_selected(listed: int, selected: Selected, counted_from: str) -> Counts:
    """Count selected objects by split."""
    sides = np.bincount(selected.sides, minlength=len(SPLITS))
    by_split = dict(zip(SPLITS, sides.tolist(), strict=True))
    return Counts(listed, by_split["train"], by_split["val"], by_split["test"], counted_from)


def _records(config: ObjectsConfig, home: Home) -> Iterator[ObjectRecord]:
    """Yield the objects of every mirror, without metadata where nothing is chosen by them."""
    for mirror in open_mirrors(config, home.mirrors).values():
        if isinstance(mirror, Mirror) and not config.licences:
            yield from mirror.listed()
        else:
            yield from mirror.records()


def _of_source(config: RunConfig) -> Counts:
    source = config.source
    assert source is not None
    if not source.is_local:
        raise ConfigError(f"source: {source.kind} is listed by the run itself")
    source.folder()
    pairs = listed_pairs(source, config.modality).pairs
    sides = Counter(str(pair.split) for pair in pairs)
    return Counts(len(pairs), sides["train"], sides["val"], sides["test"], "the data set's lists")


def _stated(config: RunConfig, recipe: Recipe | None) -> Counts:
    """Return what is known of a data set that is not at hand."""
    objects = config.objects
    if config.source is None and objects.mirror == "objaverse":
        train = OBJAVERSE
        if not objects.train_labelled or objects.labelled_only:
            train = OBJAVERSE_LABELLED if objects.labelled_only else OBJAVERSE - OBJAVERSE_LABELLED
        return Counts(OBJAVERSE, train, None, None, "stated: Objaverse 1.0 and its LVIS labels")
    if recipe is not None:
        return Counts(None, recipe.samples, None, None, f"stated: {recipe.samples_from}")
    return Counts(None, None, None, None, "not known before the data is there")
