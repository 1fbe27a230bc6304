"""backfill: builds a modality's data set piece by piece, ahead of the run that finishes it.

Each partition of the asset `<modality>/pieces` is one range of shards: its objects are fetched,
rendered and paired into the artifacts that an ordinary run would make. Partitions do not depend
on each other, so daemons of several machines may build them into one store. The run then finds
every shard, commits the artifacts and goes on.
"""

# Without postponed annotations: Dagster looks at the type of an asset's `context` itself.
import dagster as dg

from pipelines.flow import run_piece
from pipelines.store.pieces import Piece, pieces
from workflows.settings import RunSettings, run_config
from workflows.spec import Pieces, Workflow
from workflows.workplace import Workplace


def backfill_of(workflow: Workflow, division: Pieces) -> dg.Definitions:
    """Return the partitioned asset and the job that builds it with the division's profile."""
    partitions = dg.StaticPartitionsDefinition([str(piece) for piece in pieces(division.number)])
    key = dg.AssetKey([workflow.modality, "pieces"])

    @dg.asset(
        key=key,
        partitions_def=partitions,
        group_name=workflow.modality,
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
        shards = parts[-1]
        return dg.MaterializeResult(
            metadata={
                "shards": len(shards.shards()),
                "samples": shards.manifest.counts["samples"],
                "quarantined": sum(len(part.manifest.quarantined) for part in parts),
                **{a.manifest.step: dg.MetadataValue.path(str(a.folder)) for a in parts},
            }
        )

    job = dg.define_asset_job(
        f"{workflow.modality}_pieces",
        selection=dg.AssetSelection.assets(key),
        partitions_def=partitions,
        description=f"Builds the data of {workflow.modality} piece by piece.",
        config=run_config(workflow.modality, division.profile),
        executor_def=dg.in_process_executor,
    )
    return dg.Definitions(assets=[build], jobs=[job])
