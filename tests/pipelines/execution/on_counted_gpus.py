"""Steps on a local Ray that counts two GPUs; prints how many each worker was given."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

import ray

from pipelines.execution.bulk import write_shards
from pipelines.execution.remote import call_as_task, run_as_task
from pipelines.execution.runtime import Resources, Runtime
from pipelines.execution.shard_tasks import ShardTask
from pipelines.store.artifacts import Artifact
from tests.pipelines.processors import TakesGpus
from tests.pipelines.quiet import quiet_runtime
from vitlens_core.errors import ConfigError


def run(runtime: Runtime, name: str) -> Artifact:
    """A job that looks at its own node, as evaluation does."""
    build = runtime.store.begin(name, 1, {}, {})
    if build.existing:
        return build.existing
    given = ray.get_runtime_context().get_accelerator_ids()["GPU"]
    return build.commit([], {"gpus": len(given)})


def _gpus_here(_: None) -> int:
    return len(ray.get_runtime_context().get_accelerator_ids()["GPU"])


def _given(runtime: Runtime, name: str, *, encodes: bool) -> str:
    build = runtime.store.begin(name, 1, {}, {})
    tasks = [ShardTask(f"train-{number:05d}") for number in range(2)]
    write_shards(runtime, build, tasks, TakesGpus, encodes=encodes)
    artifact = build.commit([], {})
    samples = (next(artifact.read(task.name)) for task in tasks)
    return " ".join(bytes(sample["txt"]).decode() for sample in samples)


def main() -> None:
    ray.init(num_cpus=4, num_gpus=2, include_dashboard=False, log_to_driver=False)
    with tempfile.TemporaryDirectory() as folder:
        runtime = quiet_runtime(Path(folder))
        resources = {"render_workers": 2, "encode_workers": 2, "encode_gpus": 1}
        runtime = replace(runtime, resources=Resources.model_validate(resources))
        print("render:", _given(runtime, "renders", encodes=False))
        print("encode:", _given(runtime, "encodes", encodes=True))
        made = run_as_task(runtime, run, ("task",), {})
        assert run_as_task(runtime, run, ("task",), {}).reused
        print(f"task: {made.manifest.counts['gpus']} of {int(ray.cluster_resources()['GPU'])}")
        pool = Resources(train_workers=2, train_gpus=1).train_pool
        print("table:", call_as_task(runtime.resources, pool, _gpus_here, None))
        greedy = replace(runtime, resources=Resources(encode_workers=2, encode_gpus=3))
        try:
            _given(greedy, "refused", encodes=True)
        except ConfigError as error:
            print("refused:", str(error).splitlines()[0])


if __name__ == "__main__":
    from tests.pipelines.execution import on_counted_gpus

    on_counted_gpus.main()  # by its name, which Ray's workers import too
