"""current: tells whether a run would find everything made, without making anything.

Reads     the listing of the source, the manifests of finished artifacts, the registry.
Promises  the steps themselves compute the fingerprints, with a store that only looks artifacts
          up; so this answer and a run cannot disagree.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from pipelines.execution.runtime import Runtime
from pipelines.flow import left_out
from pipelines.objects.opening import any_remote
from pipelines.registry.acceptance import is_current, settings_digest
from pipelines.registry.version import CHALLENGER, ModelVersion
from pipelines.store.artifact_store import FinishedStore, NotMadeError
from pipelines.store.artifacts import Artifact
from workflows.spec import Workflow, load_workflow
from workflows.workplace import Workplace


def current_version(workplace: Workplace, workflow: Workflow, profile: str) -> ModelVersion | None:
    """Return the version that a run with this profile would end with, if nothing is left to do.

    Also None if the objects lie in a remote mirror: listing it may fetch its annotations.

    Raises:
        VitlensError: the source cannot be listed.
    """
    config = workflow.config(profile)
    versions = workplace.registry.versions(workflow.modality)
    if not versions or (config.source is None and any_remote(config.objects)):
        return None
    try:
        finished = Finished(workplace, workflow, profile)
        without = left_out(config)
        artifacts = {n: finished[n] for n in workflow.step_names if n not in without}
    except NotMadeError:
        return None
    wanted_gates = settings_digest(config, artifacts["benchmarks"])
    champion = workplace.registry.champion(workflow.modality)
    for version in versions:
        if version.evaluation == artifacts["evaluation"].fingerprint:
            # A run would still promote a challenger whose gates passed, so that is work left.
            promoted = not version.gates_passed or CHALLENGER not in version.aliases
            checked = is_current(version, wanted_gates, champion)
            return version if promoted and checked else None
    return None


@dataclass(frozen=True)
class Finished:
    """The artifacts of a workflow by step; each is looked up once (`NotMadeError`)."""

    workplace: Workplace
    workflow: Workflow
    profile: str
    overrides: tuple[str, ...] = ()
    by_step: dict[str, Artifact] = field(default_factory=dict)

    def __getitem__(self, name: str) -> Artifact:
        if name not in self.by_step:
            self.by_step[name] = self._look_up(name)
        return self.by_step[name]

    def _look_up(self, name: str) -> Artifact:
        if name == "shared":
            other = load_workflow(str(self.workflow.foundation_of))
            return Finished(self.workplace, other, self.profile)["foundation"]
        step = next(step for step in self.workflow.steps if step.name == name)
        config = self.workflow.config(self.profile, self.overrides)
        without = left_out(config)
        inputs = {key: self[key] for key in step.inputs if key not in without}
        store = FinishedStore(self.workplace.home.store.root)
        runtime = Runtime(store, config.resources, home=self.workplace.home)
        return self.workplace.run_step(step, runtime, config, inputs)
