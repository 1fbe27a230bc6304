"""step: how a step of the flow is declared, once, in its folder's `step.py`.

A folder `pipelines/<name>/` is a step if it has

    step.py   `STEP`, a `Step`, and the settings of the step; imports neither torch nor Ray
    job.py    `run(runtime, *settings, **inputs) -> Artifact`, which does the work
    making.py where the work needs torch: `make`, which `run` calls if nothing is finished

The flow (`pipelines.flow`), Dagster's graph, the command line and the reference of the file
formats read these declarations; nothing about a step is stated in a second place.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Literal

from pydantic import BaseModel

from pipelines.execution.logs import where
from pipelines.execution.remote import has_own_node, run_as_task
from pipelines.execution.runtime import Runtime
from pipelines.store.artifact_store import Build, FinishedStore
from pipelines.store.artifacts import Artifact
from pipelines.store.files import storage_errors
from pipelines.store.locks import alone
from pipelines.store.pieces import Piece

Maker = Literal["driver", "torch", "Ray Data", "Ray Train"]


@dataclass(frozen=True)
class Step:
    """One artifact of the flow.

    Attributes:
        name: name of the step, its folder, its artifact and its section of the settings.
        version: part of the fingerprint; raise it when the same settings and inputs begin to
            give other bytes.
        description: a sentence, as people see it in Dagster and in the docs.
        made_by: what does the work; a step of `torch` alone runs as a Ray task where there are
            workers that hold towers on GPUs or on a cluster.
        reads: what it reads, in words.
        writes: file or pattern → what it contains.
        promises: what is true of every artifact of this step.
        inputs: names of the steps whose artifacts it reads.
        optional_inputs: inputs that it reads in some workflows only.
        takes_one_input: whether a workflow has only one of `inputs`.
        in_pieces: whether a part of its input gives a part of its artifact.
    """

    name: str
    version: int
    description: str
    made_by: Maker
    reads: str
    writes: Mapping[str, str]
    promises: str
    inputs: tuple[str, ...] = ()
    optional_inputs: tuple[str, ...] = ()
    takes_one_input: bool = False
    in_pieces: bool = False

    def begin(
        self,
        runtime: Runtime,
        settings: BaseModel | Mapping[str, object],
        inputs: Mapping[str, Artifact],
        content: str = "",
        *,
        part: bool = False,
    ) -> Build:
        """Look up or start the artifact that settings and inputs determine.

        Args:
            content: digest of what enters from outside the store (the selection of a mirror).
            part: whether only a piece is made; an input that is a part implies it.

        Raises:
            ConfigError: an input is a part, and the step needs the whole of it.
        """
        part = part or (self.in_pieces and any(artifact.is_part for artifact in inputs.values()))
        return runtime.store.begin(self.name, self.version, settings, inputs, content, part=part)

    def make(self, runtime: Runtime, build: Build, *settings: object, **inputs: object) -> Artifact:
        """Make an unfinished artifact by `making`; what that raises is raised.

        It is imported only now: torch takes seconds, and a finished artifact needs none of it.
        """
        making = importlib.import_module(f"pipelines.{self.name}.making")
        return making.make(runtime, build, *settings, **inputs)

    def run(
        self,
        runtime: Runtime,
        settings: tuple[object, ...],
        inputs: Mapping[str, Artifact],
        piece: Piece | None = None,
    ) -> Artifact:
        """Make the artifact, or find it finished; a first step can also make a piece.

        Two runs of one home make the same step one after the other; pieces are made side by side.

        Raises:
            VitlensError: what the job raises; `StorageError` if the disk or store fails.
        """
        job = importlib.import_module(f"pipelines.{self.name}.job")
        only_piece = {"piece": piece} if piece else {}
        verify = runtime.resources.verify_reads
        read = {name: replace(artifact, verify_reads=verify) for name, artifact in inputs.items()}
        is_shared = piece is not None or any(artifact.is_part for artifact in inputs.values())
        only_looks = isinstance(runtime.store, FinishedStore)
        with where(step=self.name), storage_errors(), ExitStack() as stack:
            if not (is_shared or only_looks):
                stack.enter_context(alone(runtime.home.root, self.name, runtime.say))
            if self.made_by == "torch" and has_own_node(runtime.resources.encode_pool):
                return run_as_task(runtime, job.run, settings, read)
            return job.run(runtime, *settings, **read, **only_piece)
