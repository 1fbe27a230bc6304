"""preflight: finds what would stop a run before any process is started and anything is made.

Reads     the settings, the lists of a local data set, and the places that the run needs.
Promises  seconds: no recording is opened, neither torch nor Dagster is imported.
"""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from pipelines.config import RunConfig
from pipelines.foundation.teachers import find_teachers
from pipelines.objects.opening import open_mirrors
from pipelines.source.base import Pair
from pipelines.source.job import listed, refuse_empty_sides
from pipelines.store.home import Home
from pipelines.store.splits import SPLITS
from vitlens_core.errors import ConfigError
from vitlens_core.foundation import check_foundation, has_text_tower
from workflows.leaks import remarks_on_benchmarks
from workflows.places import check_places, needed_bytes, require_space
from workflows.spec import Workflow, load_workflow

_MOST_LABELS = 8  # shown of a source's labels


@dataclass(frozen=True)
class SourceCounts:
    """What a source lists, by split and label; ready-made embeddings count as what they are of."""

    pairs: Counter[str]
    labels: Counter[str]
    with_images: Counter[str]
    with_texts: Counter[str]

    @classmethod
    def of(cls, pairs: Sequence[Pair], *, are_ready: bool = False) -> SourceCounts:
        """Count pairs.

        Args:
            are_ready: whether the data set brings embeddings of images and texts with every pair.
        """
        splits = [(str(pair.split), pair) for pair in pairs]
        return cls(
            pairs=Counter(split for split, _ in splits),
            labels=Counter(pair.label for _, pair in splits if pair.label),
            with_images=Counter(split for split, pair in splits if are_ready or pair.images),
            with_texts=Counter(
                split for split, pair in splits if are_ready or pair.texts or pair.label
            ),
        )

    def __str__(self) -> str:
        total = self.pairs.total()
        sides = ", ".join(f"{self.pairs[split]} {split}" for split in SPLITS)
        named = [f"{label} {count}" for label, count in self.labels.most_common(_MOST_LABELS)]
        more = len(self.labels) - len(named)
        labels = ", ".join(named) + (f" and {more} more" if more > 0 else "") or "none"
        return (
            f"{total} pairs ({sides}); {self.with_images.total()} with images, "
            f"{self.with_texts.total()} with texts or labels; labels: {labels}"
        )


def check(
    workflow: Workflow, profile: str, overrides: Sequence[str], home: Home | None = None
) -> list[str]:
    """Check the settings, their data set or mirror, foundation and compiler, and with `home` all
    places that a run needs; return remarks for the user.

    Raises:
        ConfigError: a mistake in the settings or the data set.
        TransientError, StorageError: see `check_places`.
    """
    config = workflow.config(profile, overrides)
    if config.resources.compile and not _has_compiler():
        raise ConfigError(
            "resources.compile: no C++ compiler found; install g++, name another compiler in CXX, "
            "or switch it off"
        )
    _check_foundation(workflow, config, profile)
    remarks, samples = _check_data(workflow, config)
    remarks += remarks_on_benchmarks(config)
    if home is not None:
        remarks += check_places(home, config)
        require_space(home.store.root, needed_bytes(config, samples))
    return remarks


def _check_foundation(workflow: Workflow, config: RunConfig, profile: str) -> None:
    if find_teachers(config.teachers, config.foundation):
        return
    if workflow.foundation_of and workflow.shares_foundation(config):
        check(load_workflow(workflow.foundation_of), profile, ())
    else:
        check_foundation(config.foundation.spec)
        if not has_text_tower(config.foundation.spec):
            config.lens.train.check_without_text(config.foundation.spec)


def _check_data(workflow: Workflow, config: RunConfig) -> tuple[list[str], int | None]:
    """Return remarks on the data set, and the number of its samples if it is known."""
    if config.source is None:
        open_mirrors(config.objects)
        return [], config.objects.count
    if not config.source.is_local:
        return [], config.source.count
    config.source.folder()
    listing = listed(config.source, workflow.modality)
    refuse_empty_sides(listing.pairs)
    ready_of = config.source.embeddings_of
    counts = SourceCounts.of(listing.pairs, are_ready=ready_of is not None)
    _require_targets(workflow, config, counts)
    if ready_of is not None:
        _require_foundation_of(ready_of, config)
    remarks = [f"source: {counts}", *_too_few(config, listing.pairs)]
    if listing.missing:
        remarks.append(f"source: {len(listing.missing)} pairs lack a file and are left out")
    return remarks, counts.pairs.total()


def _require_targets(workflow: Workflow, config: RunConfig, counts: SourceCounts) -> None:
    """Refuse a source that lacks what training, foundation or evaluation will ask for."""
    weights = config.lens.train.weights(config.teachers)
    own_lit = (
        config.foundation.spec.startswith("lit:")
        and not config.teachers
        and not workflow.shares_foundation(config)
    )
    lacking = []
    if "image" in weights and not counts.with_images["train"]:
        lacking.append(
            "no training pair has an image, and lens.train.image_weight is "
            f"{weights['image']:g}; add images (a manifest's column image), or set it to 0"
        )
    if "text" in weights and not counts.with_texts["train"]:
        lacking.append(
            "no training pair has a text or a label, and lens.train.text_weight is "
            f"{weights['text']:g}; add texts or labels (columns text, label), or set it to 0"
        )
    if own_lit and not (counts.with_images["train"] and counts.with_texts["train"]):
        lacking.append(
            "a `lit` foundation is fitted on images with texts or labels, and no training pair "
            "has both; add them, or set foundation.spec to an open_clip one"
        )
    if not counts.labels:
        lacking.append("no pair has a label, and zero-shot figures need classes (column label)")
    if lacking:
        raise ConfigError("\n".join(f"source: {reason}" for reason in [*lacking, str(counts)]))


def _require_foundation_of(ready_of: str, config: RunConfig) -> None:
    """Refuse ready-made embeddings of another CLIP; a digest is compared when the CLIP is open."""
    is_spec = ":" in ready_of
    if is_spec and ready_of != config.foundation.spec:
        raise ConfigError(
            f"source: the data set brings embeddings of {ready_of}, and foundation.spec is "
            f"{config.foundation.spec}; set foundation.spec to the former, or state the digest of "
            "the foundation as source.clip if it is the same CLIP"
        )


def _too_few(config: RunConfig, pairs: Sequence[Pair]) -> list[str]:
    """Say what the gate `held_out` will find too few of; the run may be meant all the same."""
    asked = config.acceptance.held_out
    if asked is None:
        return []
    held_out = [p for p in pairs if p.split == config.evaluation.split and p.label]
    lacking = [
        f"{what}: {found}, and at least {least} are asked for ({name})"
        for what, found, name, least in (
            ("held-out samples", len(held_out), "min_samples", asked.min_samples),
            ("held-out groups", len({p.group or p.key for p in held_out}), "min_groups",
             asked.min_groups),
            ("classes", len({p.label for p in pairs if p.label}), "min_classes", asked.min_classes),
        )
        if found < least
    ]  # fmt: skip
    said = "the lens will stay challenger, as the gate held_out fails: "
    return [said + "; ".join(lacking)] if lacking else []


def _has_compiler() -> bool:
    """Whether a compiler is here; a cluster's nodes are assumed to have their own."""
    return "RAY_ADDRESS" in os.environ or shutil.which(os.environ.get("CXX", "g++")) is not None
