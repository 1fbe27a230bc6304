"""seen: tells of a benchmark's recordings which a lens was trained on, by their uids.

Reads     the keys and groups of the training samples of `targets`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Set

from pipelines.benchmarks.base import Mounted
from pipelines.shards.sample import SampleInfo
from pipelines.store.artifacts import Artifact

# Objaverse-XL's uids are digests of files: they tell nothing of the uids that benchmarks list.
_DIGEST = re.compile(r"(?:.*-)?[0-9a-f]{64}")
_PREFIXED = re.compile(r".*-([0-9a-f]{32})")  # an Objaverse uid, and a mirror's prefix before it


def trained_uids(targets: Artifact) -> Set[str] | None:
    """Return the uids that were trained on; None if they are not known, as of Objaverse-XL."""
    return uids_of(
        name
        for path in targets.shards("train")
        for sample in targets.read(path, only=("json",))
        for name in (sample["__key__"], SampleInfo.of(sample).group)
    )


def uids_of(names: Iterable[str]) -> Set[str] | None:
    """Return the uids of keys and groups, without the prefixes of mirrors; None as above."""
    found = set()
    for name in names:
        if _DIGEST.fullmatch(name):
            return None
        found.add(name)
        if prefixed := _PREFIXED.fullmatch(name):
            found.add(prefixed[1])
    return found


def count_seen(mounted: Mounted, trained: Set[str] | None) -> int | None:
    """Count the test recordings that were trained on; None if that is not known."""
    return None if trained is None else sum(example.key in trained for example in mounted.test)
