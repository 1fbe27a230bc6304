"""flow: the steps of a workflow in order, and the settings that each receives.

    objects ─▶ renders ─┐
                        ├─▶ shards ─▶ foundation ─▶ targets ─▶ lens ─▶ evaluation
    source ─────────────┘           ─▶ index ─▶ benchmarks ─▶ challenger ─(gates)─▶ champion

Two ways lead into the flow: settings with a `source` read that data set, others render objects.
A workflow has the steps of both if its modality can be rendered; a run leaves out those of the
other way (`left_out`).
Each step is declared in its `step.py`; this module has their order.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from pipelines.benchmarks.step import STEP as BENCHMARKS
from pipelines.config import RunConfig
from pipelines.evaluation.step import STEP as EVALUATION
from pipelines.execution.runtime import Runtime
from pipelines.execution.step import Step
from pipelines.foundation.step import STEP as FOUNDATION
from pipelines.foundation.teachers import find_teachers
from pipelines.index.step import STEP as INDEX
from pipelines.lens.step import STEP as LENS
from pipelines.objects.step import STEP as OBJECTS
from pipelines.renders.step import STEP as RENDERS
from pipelines.shards.step import STEP as SHARDS
from pipelines.shards.step import StoredSignal
from pipelines.source.step import STEP as SOURCE
from pipelines.store.artifacts import Artifact
from pipelines.store.pieces import Piece
from pipelines.targets.step import STEP as TARGETS
from vitlens_core import modalities

STEPS = (
    OBJECTS,
    RENDERS,
    SOURCE,
    SHARDS,
    FOUNDATION,
    TARGETS,
    LENS,
    EVALUATION,
    INDEX,
    BENCHMARKS,
)
SHARED = "shared"  # the input that is another workflow's foundation
STEP_NAMES = tuple(step.name for step in STEPS)


@dataclass(frozen=True)
class FlowStep:
    """A step of one workflow, with the inputs that it has there."""

    declared: Step
    inputs: tuple[str, ...]

    @property
    def name(self) -> str:
        return self.declared.name

    @property
    def description(self) -> str:
        return self.declared.description

    def run(
        self,
        runtime: Runtime,
        config: RunConfig,
        inputs: Mapping[str, Artifact],
        piece: Piece | None = None,
    ) -> Artifact:
        """Make the artifact, or find it finished; errors as `Step.run`."""
        return self.declared.run(runtime, settings_of(self.declared, config), inputs, piece)


def steps(*, renders: bool = True, shares_foundation: bool = False) -> tuple[FlowStep, ...]:
    """Return the steps of a workflow in order.

    Args:
        renders: whether its modality can also be had from rendered objects.
        shares_foundation: whether it uses another workflow's foundation, the input `shared`.
    """
    never = set() if renders else {OBJECTS.name, RENDERS.name}
    optional = {SHARED} if shares_foundation else set()
    return tuple(
        FlowStep(step, _inputs(step, never, optional)) for step in STEPS if step.name not in never
    )


def left_out(config: RunConfig) -> frozenset[str]:
    """Return the names of the steps and inputs that a run with these settings does without.

    Where objects would share another workflow's foundation, a data set fits its own on its images.
    Recordings without images share one, unless they state a published one, which needs no fit.
    """
    if config.source is None:
        return frozenset({SOURCE.name})
    own = {SHARED} if is_rendered(config.modality) or _states_published(config) else set()
    return frozenset({OBJECTS.name, RENDERS.name} | own)


def _states_published(config: RunConfig) -> bool:
    foundation = config.foundation
    return "spec" in foundation.model_fields_set and not foundation.spec.startswith("lit:")


def is_rendered(modality: str) -> bool:
    """Whether rendered objects give recordings of a modality."""
    return modalities.load_lensed(modality).renders_as is not None


def settings_of(step: Step, config: RunConfig) -> tuple[object, ...]:
    """Return the settings of a step's job: its own section, unless `_SETTINGS` has an entry."""
    chosen = _SETTINGS.get(step.name)
    return chosen(config) if chosen else (getattr(config, step.name),)


def run_piece(
    steps: Sequence[FlowStep],
    runtime: Runtime,
    config: RunConfig,
    piece: Piece,
    run: Callable[..., Artifact] = FlowStep.run,
) -> list[Artifact]:
    """Make a piece of every artifact up to the shards.

    The artifacts stay unfinished, except a source's list.

    Args:
        run: how a step is run.
    """
    parts: dict[str, Artifact] = {}
    without = left_out(config)
    for step in steps[: [step.name for step in steps].index(SHARDS.name) + 1]:
        if step.name in without:
            continue
        inputs = {name: parts[name] for name in step.inputs if name not in without}
        # Only the first step is told the piece; the others follow from the parts they are given.
        parts[step.name] = run(step, runtime, config, inputs, None if inputs else piece)
    return list(parts.values())


def _inputs(step: Step, never: set[str], optional: set[str]) -> tuple[str, ...]:
    required = tuple(n for n in step.inputs if not (step.takes_one_input and n in never))
    return required + tuple(name for name in step.optional_inputs if name in optional)


def _shown_to_teachers(config: RunConfig) -> dict[str, StoredSignal]:
    """Return the signal to store for each lens that teaches."""
    return {
        name: StoredSignal(teacher.settings.modality, teacher.settings.signal_needed)
        for name, teacher in find_teachers(config.teachers, config.foundation).items()
    }


_SETTINGS: dict[str, Callable[[RunConfig], tuple[object, ...]]] = {
    SOURCE.name: lambda config: (config.source, config.modality),
    SHARDS.name: lambda config: (
        config.shards,
        StoredSignal(config.modality, config.tower().signal_config),
        config.source,
        _shown_to_teachers(config),
    ),
    FOUNDATION.name: lambda config: (config.foundation, config.teachers),
    LENS.name: lambda config: (config.lens.train, config.tower()),
}
