"""plan: one record of what a run would take, what its settings imply and what is missing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pipelines.config import RunConfig
from pipelines.store.home import Home
from workflows.leaks import remarks_on_benchmarks
from workflows.planning.estimate import (
    Cost,
    Hours,
    Stored,
    Training,
    cost_of,
    hours_of,
    stored_of,
    training_of,
)
from workflows.planning.listing import Counts, counts_of
from workflows.planning.missing import missing_of
from workflows.planning.network import Network, is_bf16, memory_bytes, network_of
from workflows.planning.slopes import Slopes
from workflows.recipes import Recipe, recipes
from workflows.spec import Workflow, load_workflow


@dataclass(frozen=True)
class Plan:
    """What a run would take. Unknown figures are None.

    Attributes:
        objects: objects or recordings by split.
        memory_bytes_per_gpu: of one training worker, by what it is.
        implied: what follows from the settings, in sentences.
        missing: what the run needs and what is not here.
    """

    objects: Counts
    training: Training
    network: Network
    stored: Stored
    hours: Hours
    cost: Cost
    memory_bytes_per_gpu: dict[str, float]
    gpu: str
    implied: list[str]
    missing: list[str]


def plan_of(
    workflow: Workflow, profile: str, overrides: Sequence[str], home: Home, slopes: Slopes
) -> Plan:
    """Plan a run (`ConfigError`: a mistake in its settings)."""
    config = workflow.config(profile, overrides)
    config = _with_shared_foundation(workflow, config, profile)
    counts, missing = counts_of(config, home, _recipe(workflow, profile))
    network = network_of(config, bf16=is_bf16(config, slopes))
    stored = stored_of(config, counts, network, slopes)
    hours = hours_of(config, counts, network, slopes)
    memory = memory_bytes(config, network)
    training = training_of(config, counts)
    return Plan(
        objects=counts,
        training=training,
        network=network,
        stored=stored,
        hours=hours,
        cost=cost_of(hours, stored, slopes),
        memory_bytes_per_gpu=memory,
        gpu=slopes.stated.gpu,
        implied=_implied(config, counts, training),
        missing=[*missing, *missing_of(config, home, stored, memory, slopes)],
    )


def _with_shared_foundation(workflow: Workflow, config: RunConfig, profile: str) -> RunConfig:
    """Return the settings with the foundation that the run would share."""
    if not workflow.shares_foundation(config):
        return config
    other = load_workflow(str(workflow.foundation_of)).config(profile)
    return config.model_copy(update={"foundation": other.foundation})


def _recipe(workflow: Workflow, profile: str) -> Recipe | None:
    """Return the published recipe that a profile is or starts from."""
    name = workflow.profiles.get(profile, {}).get("recipe", profile)
    known = (r for r in recipes() if (r.modality, r.name) == (workflow.modality, name))
    return next(known, None)


def _implied(config: RunConfig, counts: Counts, training: Training) -> list[str]:
    """Say what follows from settings that one would not expect."""
    train, said = config.lens.train, []
    if training.passes is not None and training.passes < 1:
        said.append(f"only {training.passes:.0%} of the training samples are ever seen")
    if train.warmup_steps >= train.steps:
        said.append("the warm-up is as long as the training: the highest rate is never reached")
    if (
        config.source is None
        and config.objects.labelled_only
        and config.objects.mirror != "embedded"
    ):
        said.append("objects without a class are left out (objects.labelled_only)")
    said += remarks_on_benchmarks(config)
    if counts.test == 0:
        said.append("nothing is held out for test: the evaluation has no figures")
    per_worker = -(-train.batch_size // max(1, training.workers))
    if training.rows_per_forward < per_worker:
        parts = -(-per_worker // training.rows_per_forward)
        said.append(f"a worker's {per_worker} rows are taken in {parts} parts, embedded twice")
    return said
