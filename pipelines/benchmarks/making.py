"""making: measures the lens on the mounted data sets."""

from __future__ import annotations

from pathlib import Path

from pipelines.benchmarks.mounting import Suite
from pipelines.benchmarks.seen import trained_uids
from pipelines.benchmarks.step import PAGE, STEP, TABLE, BenchmarksConfig
from pipelines.benchmarks.suite import measure
from pipelines.benchmarks.table import markdown
from pipelines.execution.runtime import Runtime
from pipelines.foundation.opening import open_foundation
from pipelines.store.artifact_store import Build
from pipelines.store.artifacts import Artifact
from pipelines.store.files import write_atomic
from pipelines.store.shards import encode_model
from vitlens_core.api import Model, load
from vitlens_core.model_files import LENS_FILE
from vitlens_core.scratch import Scratch


def make(
    runtime: Runtime,
    build: Build,
    config: BenchmarksConfig,
    suite: Suite,
    targets: Artifact,
    foundation: Artifact,
    lens: Artifact,
    *,
    emergent: bool,
) -> Artifact:
    """Measure the lens; arguments as `job.run` and `suite.measure`."""
    model = open_model(runtime, foundation, lens) if suite.mounted else None
    with runtime.progress(STEP.name, suite.recordings, "recordings") as bar:
        table = measure(
            suite,
            model,
            config,
            bar.advance,
            emergent=emergent,
            trained_on=trained_uids(targets) if suite.mounted else set(),
        )
    files = [
        write_atomic(build.folder / TABLE, encode_model(table)),
        write_atomic(build.folder / PAGE, markdown(table).encode()),
    ]
    kinds = {"rows": table.rows, "failed": table.failed, "skipped": table.skipped}
    return build.commit(files, {name: len(items) for name, items in kinds.items()})


def open_model(runtime: Runtime, foundation: Artifact, lens: Artifact) -> Model:
    """Open a lens on its foundation, as consumers load it."""
    with Scratch("lens") as folder:
        local = Path(folder, LENS_FILE)
        local.write_bytes(lens.read_whole(LENS_FILE))
        return load(local, foundation=open_foundation(foundation), device=runtime.resources.device)
