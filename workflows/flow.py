"""flow: the steps of a workflow in order, and how each one is called.

    objects ─▶ renders ─┐
                        ├─▶ shards ─▶ foundation ─▶ targets ─▶ lens ─▶ evaluation
    source ─────────────┘           ─▶ index ─▶ benchmarks ─▶ challenger ─(gates)─▶ champion

A workflow whose settings have a `source` reads that data set; any other renders objects.
A step's job is `pipelines.<name>.run(runtime, *settings, **inputs)`.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from pipelines.artifacts import Artifact
from pipelines.files import storage_errors
from pipelines.pieces import Piece
from pipelines.runtime import Runtime

if TYPE_CHECKING:
    from pipelines.config import RunConfig
    from vitlens_core.models.tower import TowerSettings

Settings = Callable[["RunConfig"], tuple[Any, ...]]


@dataclass(frozen=True)
class Step:
    """One artifact of the flow; `settings` picks what its job is told."""

    name: str
    description: str
    inputs: tuple[str, ...]
    settings: Settings

    def run(
        self,
        runtime: Runtime,
        config: RunConfig,
        inputs: Mapping[str, Artifact],
        piece: Piece | None = None,
    ) -> Artifact:
        """Make the artifact, or find it made; of a first step also a piece of it.

        Raises:
            VitlensError: what the step's job raises; `StorageError` where the disk or store fails.
        """
        job = importlib.import_module(f"pipelines.{self.name}")
        only = {"piece": piece} if piece else {}
        verify = runtime.resources.verify_reads
        read = {name: replace(made, verify_reads=verify) for name, made in inputs.items()}
        with storage_errors():
            return job.run(runtime, *self.settings(config), **read, **only)


_OBJECTS = Step(
    "objects",
    "The selected GLBs of a mirror, whole and checked, split by object.",
    (),
    lambda config: (config.objects,),
)
_RENDERS = Step(
    "renders",
    "Views, metric depth and coloured surface points of every object.",
    ("objects",),
    lambda config: (config.renders,),
)
_SOURCE = Step(
    "source",
    "What a data set offers: its pairs listed, checked and divided.",
    (),
    lambda config: (config.source, config.modality),
)
_LAST = (
    Step(
        "targets",
        "The foundation's embeddings of every view and caption, computed once.",
        ("shards", "foundation"),
        lambda config: (),
    ),
    Step(
        "lens",
        "The trained tokenizer and lens.",
        ("targets", "foundation"),
        lambda config: (config.lens,),
    ),
    Step(
        "evaluation",
        "Zero-shot classification and retrieval on held-out samples, with intervals.",
        ("targets", "foundation", "lens"),
        lambda config: (config.evaluation,),
    ),
    Step(
        "index",
        "Every sample's vectors, to be found by an embedding of any modality.",
        ("shards", "targets", "foundation", "lens"),
        lambda config: (config.index,),
    ),
    Step(
        "benchmarks",
        "The lens on public data sets, by the protocols of published figures, where mounted.",
        ("foundation", "lens", "evaluation"),
        lambda config: (config.benchmarks,),
    ),
)


def steps(*, from_source: bool = False, shares_foundation: bool = False) -> tuple[Step, ...]:
    """The steps of a workflow in order.

    Args:
        from_source: whether it reads a data set instead of rendering objects.
        shares_foundation: whether its foundation is another workflow's, the input `shared`.
    """
    first = (_SOURCE,) if from_source else (_OBJECTS, _RENDERS)
    return (*first, _shards(first[-1].name), _foundation(shares_foundation), *_LAST)


def run_piece(
    steps: Sequence[Step], runtime: Runtime, config: RunConfig, piece: Piece
) -> list[Artifact]:
    """A piece of every artifact up to the shards, all left unfinished but a source's list."""
    made: dict[str, Artifact] = {}
    for step in steps[: [step.name for step in steps].index("shards") + 1]:
        inputs = {name: made[name] for name in step.inputs}
        made[step.name] = step.run(runtime, config, inputs, None if inputs else piece)
    return list(made.values())


def _shards(upstream: str) -> Step:
    return Step(
        "shards",
        "Paired samples in WebDataset tars: signal, images, captions.",
        (upstream,),
        lambda config: (config.shards, config.lens.tower(), config.source, _teacher(config)),
    )


def _teacher(config: RunConfig) -> TowerSettings | None:
    """Settings of the lens that teaches, if `foundation` names one."""
    from pipelines.teacher import find_teacher

    teacher = find_teacher(config.foundation.spec)
    return teacher.settings if teacher else None


def _foundation(shared: bool) -> Step:
    return Step(
        "foundation",
        "The frozen dual encoder that defines the embedding space.",
        ("shards", "shared") if shared else ("shards",),
        lambda config: (config.foundation,),
    )


STEP_NAMES = tuple(
    step.name for step in (_OBJECTS, _RENDERS, _SOURCE, _shards(""), _foundation(False), *_LAST)
)
