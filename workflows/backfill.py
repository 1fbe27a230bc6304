"""backfill: builds a modality's data set piece by piece, ahead of the run that finishes it.

Each partition of the asset `<modality>/pieces` is one range of shards: its objects are fetched,
rendered and paired into the artifacts that an ordinary run would make. Partitions do not depend
on each other, so daemons of several machines may build them into one store. The run then finds
every shard, commits the artifacts and goes on.
"""

# Without postponed annotations: Dagster looks at the type of an asset's `context` itself.
from collections.abc import Sequence

import dagster as dg

from pipelines.flow import run_piece
from pipelines.store.artifacts import Artifact
from pipelines.store.pieces import Piece, pieces
from workflows.settings import RunSettings, run_config
from workflows.spec import Pieces, Workflow
from workflows.workplace import Workplace

# What is counted of a piece; the names of steps are the places of its artifacts.
COUNTED = ("shards built", "samples", "quarantined")


def backfill_of(workflow: Workflow, division: Pieces) -> dg.Definitions:
    """Return the partitioned asset and the job that builds it with the division's profile."""
    partitions = dg.StaticPartitionsDefinition([str(piece) for piece in pieces(division.number)])
    key = dg.AssetKey([workflow.modality, "pieces"])

    @dg.asset(
        key=key,
        partitions_def=partitions,
        group_name=workflow.modality,
        owners=workflow.owners,
        description="Ranges of shards, built ahead of the run that uses them.",
        kinds={"ray"},
    )
    def build(
        context: dg.AssetExecutionContext,
        settings: RunSettings,
        workplace: dg.ResourceParam[Workplace],
    ) -> dg.MaterializeResult:
        config = settings.config(workflow)
        runtime = settings.runtime(config)
        piece = Piece.parse(context.partition_key)
        parts = run_piece(workflow.steps, runtime, config, piece, workplace.run_step)
        made = dict(zip(COUNTED, _counts(parts), strict=True))
        return dg.MaterializeResult(
            metadata={
                **made,
                **{a.manifest.step: dg.MetadataValue.path(str(a.folder)) for a in parts},
            }
        )

    job = dg.define_asset_job(
        job_name(workflow.modality),
        selection=dg.AssetSelection.assets(key),
        partitions_def=partitions,
        description=f"Builds the data of {workflow.modality} piece by piece.",
        config=run_config(workflow.modality, division.profile),
        executor_def=dg.in_process_executor,
    )
    return dg.Definitions(assets=[build], jobs=[job])


def job_name(modality: str) -> str:
    """Return the name of the job that builds a modality's pieces."""
    return f"{modality}_pieces"


def _counts(parts: Sequence[Artifact]) -> tuple[int, int, int]:
    shards = parts[-1]
    quarantined = sum(part.manifest.quarantined for part in parts)
    return len(shards.shards()), shards.manifest.counts["samples"], quarantined
