"""facts: the content of `sweep.json`, which the page, the plot and MLflow show too.

Two kinds of figures stand side by side. Training measured the validation figures: they are for
choosing a point. The held-out ones say what a point is worth, once it has been chosen.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

from pydantic import BaseModel

from pipelines.execution.bulk import read_record
from pipelines.report.facts import Run
from pipelines.report.facts import collect as collect_run
from pipelines.store.artifacts import Artifact, digest

_KEPT = ("zero_shot", "times_chance", "retrieval", "emergent", "fingerprints", "foundation")


@dataclass(frozen=True)
class Outcome:
    """One point as it came out.

    Attributes:
        label: its name in the table.
        overrides: what makes it of the profile.
        config: everything it was run with.
        is_profile: whether it is what the profile states anyway.
        artifacts: by step, up to `evaluation`; none if it failed.
        failure: why it failed; empty if it did not.
    """

    label: str
    overrides: Sequence[str]
    config: BaseModel
    is_profile: bool
    artifacts: Mapping[str, Artifact]
    failure: str = ""


@dataclass(frozen=True)
class Sweep:
    """A sweep that was run: its axis, what it started from, and every point."""

    modality: str
    axis: str
    varied: str
    profile: str
    overrides: Sequence[str]
    points: Sequence[Outcome]

    @cached_property
    def fingerprint(self) -> str:
        """Identity of what is compared; where it ran never enters."""
        unstated = {"resources", "tracking"}
        configs = [p.config.model_dump(mode="json", exclude=unstated) for p in self.points]
        labels = [point.label for point in self.points]
        return digest([self.modality, self.axis, self.profile, labels, configs])


def collect(sweep: Sweep) -> dict[str, Any]:
    """`sweep.json`."""
    runs = [_collected(point, sweep.profile) for point in sweep.points]
    made = [run for run in runs if run]
    points = [_point(*both) for both in zip(sweep.points, runs, strict=True)]
    return {
        "modality": sweep.modality,
        "axis": sweep.axis,
        "varied": sweep.varied,
        "profile": sweep.profile,
        "overrides": list(sweep.overrides),
        "fingerprint": sweep.fingerprint,
        "written_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "samples_are": made[0]["samples_are"] if made else "samples",
        "is_generated": any(run["is_generated"] for run in made),
        "best_on_validation": best_on_validation(points),
        "points": points,
    }


def best_on_validation(points: Sequence[Mapping[str, Any]]) -> list[str]:
    """Labels of the points to choose: all with the highest validation R@1.

    Empty where it was not measured, or not against the same kind of target in all points.
    """
    measured = {p["label"]: p["validation"] for p in points if p["validation"]}
    if len({validation["against"] for validation in measured.values()}) != 1:
        return []
    highest = max(validation["r1"] for validation in measured.values())
    return [label for label, found in measured.items() if found["r1"] == highest]


def _collected(point: Outcome, profile: str) -> dict[str, Any] | None:
    """What a report of the point would say; None if it failed."""
    if point.failure:
        return None
    return collect_run(Run(point.config, point.artifacts, (), None, profile))


def _point(point: Outcome, run: Mapping[str, Any] | None) -> dict[str, Any]:
    shared = {
        "label": point.label,
        "overrides": list(point.overrides),
        "is_profile": point.is_profile,
        "failure": point.failure or None,
    }
    if run is None:
        return {**shared, "validation": None}
    targets = point.artifacts["targets"]
    train = run["config"]["lens"]["train"]
    seen = train["steps"] * train["batch_size"]
    return {
        **shared,
        "validation": _validation(run, targets),
        **{name: run[name] for name in _KEPT},
        "training": {
            "steps": train["steps"],
            "batch_size": train["batch_size"],
            "epochs": seen / _samples(targets, "train"),
            "seconds": run["seconds"]["lens"],
        },
    }


def _validation(run: Mapping[str, Any], targets: Artifact) -> dict[str, Any] | None:
    """What training measured at its last step; None without validation samples."""
    measured = run["training"]
    if measured["val_r1_last"] is None:
        return None
    return {
        "r1": measured["val_r1_last"],
        "loss": measured["val_loss_last"],
        "against": next(iter(run["supervision"])),
        "n": _samples(targets, "val"),
    }


def _samples(targets: Artifact, split: str) -> int:
    names = [path.name.removesuffix(".tar") for path in targets.shards(split)]
    return sum(read_record(targets.folder, name).samples for name in names)
