"""dry_run: what a run would reuse and what it would make, and why.

Promises  the steps themselves look their artifacts up in a store that makes none, so that this
          answer and a run cannot disagree.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipelines.flow import left_out
from pipelines.objects.opening import any_remote
from pipelines.registry.tracking import flatten
from pipelines.store.artifact_store import NotMadeError
from pipelines.store.artifacts import Artifact
from workflows.current import Finished
from workflows.spec import Workflow
from workflows.workplace import Workplace

_MOST_SHOWN = 4  # settings that differ


@dataclass(frozen=True)
class PlannedStep:
    """A step of a run that has not begun: whether it is made, and why."""

    name: str
    made: bool
    why: str


def plan(
    workplace: Workplace, workflow: Workflow, profile: str, overrides: Sequence[str]
) -> list[PlannedStep]:
    """Return every step of a run, in order.

    Raises:
        VitlensError: the source cannot be listed.
    """
    config = workflow.config(profile, overrides)
    without = left_out(config)
    steps = [step for step in workflow.steps if step.name not in without]
    if config.source is None and any_remote(config.objects):
        unknown = "the remote mirror is listed by the run itself"
        return [PlannedStep(step.name, True, unknown) for step in steps]
    finished = Finished(workplace, workflow, profile, tuple(overrides))
    planned: list[PlannedStep] = []
    for step in steps:
        anew = [p.name for p in planned if p.made and p.name in step.inputs]
        if anew:
            planned.append(PlannedStep(step.name, True, f"{', '.join(anew)} made anew"))
            continue
        try:
            artifact = finished[step.name]
        except NotMadeError as error:
            planned.append(PlannedStep(step.name, True, _why(workplace, error)))
        else:
            planned.append(PlannedStep(step.name, False, artifact.fingerprint[:12]))
    return planned


def _why(workplace: Workplace, error: NotMadeError) -> str:
    """Compare the artifact that would be made with the nearest one of its step."""
    identity = error.identity
    former = [
        a for a in workplace.home.store.artifacts() if a.manifest.step == identity.get("step")
    ]
    if not former:
        return "the first of its kind here"
    # Another modality's artifact of the same step differs in almost every setting.
    nearest = min(former, key=lambda a: len(_changed(a, identity)))
    return "; ".join(_differences(nearest, identity)) or "the content of the source differs"


def _changed(former: Artifact, identity: Mapping[str, Any]) -> dict[str, tuple[str, str]]:
    """Return the settings that differ, before and now."""
    before, now = dict(flatten(former.manifest.config)), dict(flatten(identity["config"]))
    pairs = {key: (before.get(key, "–"), now.get(key, "–")) for key in sorted(before.keys() | now)}
    return {key: pair for key, pair in pairs.items() if pair[0] != pair[1]}


def _differences(last: Artifact, identity: Mapping[str, Any]) -> Iterator[str]:
    if last.manifest.version != identity["version"]:
        yield f"the step is version {identity['version']} now"
    changed = _changed(last, identity)
    shown = [f"{key} {a} → {b}" for key, (a, b) in list(changed.items())[:_MOST_SHOWN]]
    more = len(changed) - len(shown)
    if shown:
        yield ", ".join(shown) + (f" and {more} more" if more > 0 else "")
    if last.manifest.inputs != identity["inputs"]:
        yield "other inputs"
