"""sweep: varies one setting of a workflow and runs every point up to its evaluation.

Reads     a workflow, a profile and an axis (`workflows.axes`).
Writes    what every point's steps write, and the sweep's table and plot (`pipelines.sweep`).
Promises  a mistake in any point is found before the first is run; points share the artifacts
          that their settings leave unchanged, so a stopped sweep can be continued; a point that
          fails is shown with its reason, and the others are run.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pipelines import sweep as results
from pipelines.config import RunConfig
from pipelines.sweep import Sweep, SweepPoint
from vitlens_core.errors import ConfigError, VitlensError
from workflows.axes import AXES, Point, points_of
from workflows.console import terminal
from workflows.preflight import check
from workflows.runner import evaluate
from workflows.spec import Workflow
from workflows.text import shown
from workflows.workplace import Workplace


@dataclass(frozen=True)
class Plan:
    """A sweep that can be run: the settings of every point are checked.

    Attributes:
        base: the settings that are varied: the profile with the user's own overrides.
        points: each point with all its settings.
    """

    workflow: Workflow
    profile: str
    overrides: tuple[str, ...]
    axis: str
    base: RunConfig
    points: tuple[tuple[Point, RunConfig], ...]


def plan(
    workflow: Workflow,
    profile: str,
    overrides: Sequence[str],
    axis: str,
    values: str | None,
    seeds: int = 1,
) -> Plan:
    """Work out and check every point.

    Args:
        values: the values of the points, separated by commas; None for those the axis proposes.
        seeds: trainings of each value, with seeds that follow the profile's.

    Raises:
        ConfigError: an unknown axis, profile or value, or settings that contradict each other;
            the message names the point.
    """
    base = workflow.config(profile, overrides)
    asked = [value.strip() for value in values.split(",")] if values is not None else []
    points = []
    first = base.lens.train.seed
    chosen = points_of(axis, workflow, base, asked)
    if seeds > 1:
        has_random = [
            workflow.config(profile, [*overrides, *p.overrides]).lens.trunk.random is not None
            for p in chosen
        ]
        # Seed by seed: a sweep that is stopped has every value.
        chosen = [
            p.with_seed(first + n, random_trunk=is_random)
            for n in range(seeds)
            for p, is_random in zip(chosen, has_random, strict=True)
        ]
    for point in chosen:
        settings = [*overrides, *point.overrides]
        try:
            check(workflow, profile, settings)
        except ConfigError as error:
            raise ConfigError(f"axis {axis}, point {point.label}: {error}") from error
        points.append((point, workflow.config(profile, settings)))
    return Plan(workflow, profile, tuple(overrides), axis, base, tuple(points))


def run(workplace: Workplace, plan: Plan, log: Path) -> Path:
    """Run every point, write the results and return their folder.

    Args:
        log: the log file that the message of a failed point names.
    """
    console, points = terminal(), []
    for number, (point, config) in enumerate(plan.points, start=1):
        console.print(
            f"\n[bold]point {number} of {len(plan.points)}[/]  {plan.axis}: {shown(point.label)}",
            highlight=False,
        )
        points.append(_run_point(workplace, plan, point, config, log))
        if points[-1].failure:
            console.print(f"[red]failed[/] {shown(points[-1].failure)}", soft_wrap=True)
    modality, varied = plan.workflow.modality, AXES[plan.axis].description
    swept = Sweep(modality, plan.axis, varied, plan.profile, plan.overrides, points)
    write = workplace.write_sweep or results.write
    return write(workplace.home.root, swept)


def _run_point(
    workplace: Workplace, plan: Plan, point: Point, config: RunConfig, log: Path
) -> SweepPoint:
    """Run one point; an exception becomes the point's failure, and the sweep goes on."""
    artifacts, failure = {}, ""
    overrides = [*plan.overrides, *point.overrides]
    tags = {"vitlens/sweep": f"{plan.axis}: {point.label}"}
    try:
        artifacts = evaluate(workplace, plan.workflow.modality, plan.profile, overrides, tags)
    except VitlensError as error:
        failure = str(error)
    except Exception as error:
        logging.getLogger("vitlens").exception("point %s failed", point.label)
        failure = f"{type(error).__name__}: {error}; full log: {log}"
    is_profile = config == plan.base
    return SweepPoint(
        point.label, point.overrides, config, is_profile, artifacts, failure, point.value
    )
