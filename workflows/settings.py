"""settings: the settings of a Dagster run, in the launchpad and on the command line."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import ExitStack

import dagster as dg
from pydantic import Field, PrivateAttr

from pipelines.config import RunConfig
from pipelines.execution.cluster import is_local
from pipelines.execution.runtime import Runtime
from pipelines.flow import SHARED, left_out
from pipelines.registry import models
from pipelines.registry.tracking import USER, acting, code_revision, user
from pipelines.store.home import Home
from pipelines.store.text import printable
from workflows.console import terminal
from workflows.processes import process_tag
from workflows.retries import PARENT, by_command_line
from workflows.spec import DEFAULT_PROFILE, Workflow, load_workflow
from workflows.workplace import present

RESOURCE = "settings"
_PARTITION_TAG = "dagster/partition"  # Dagster's own, of a run of a backfill
# Who started a run (whoever starts it may say so in this tag), and the commit that it runs.
USER_TAG, REVISION_TAG = "vitlens/user", "vitlens/code_revision"
MODALITY_TAG = "vitlens/modality"  # infra/config/dagster.yaml lets one run of each go at a time
_BEGAN = {"dagster/schedule_name": "schedule", "dagster/sensor_name": "sensor"}  # Dagster's tags
_BEGUN_AGAIN = "dagster/retry_number"  # by Dagster itself
UNNAMED = "Dagster"  # its page knows no accounts
TEACHER_TAG = "vitlens/teacher-"  # and a modality, and the teacher's name


class RunSettings(dg.ConfigurableResource):
    """The profile of a run, and the overrides for one modality."""

    modality: str = Field("", description="modality whose settings the overrides change")
    profile: str = Field(DEFAULT_PROFILE, description="a profile of the modality's defs.yaml")
    overrides: list[str] = Field([], description="as `--set`: section.key=value, value in YAML")

    _instance: dg.DagsterInstance | None = PrivateAttr(None)
    _run_id: str = PrivateAttr("")
    _lock: ExitStack = PrivateAttr(default_factory=ExitStack)

    def setup_for_execution(self, context: dg.InitResourceContext) -> None:
        """Wait until no other run works in the home, and record the process of this one."""
        what = f"a run of {self.modality or 'an asset'}, profile {self.profile}"
        waiting = context.log.info if context.log else terminal().print
        # Pieces do not depend on each other: several machines may build them into one home. On a
        # cluster Dagster's own limits decide which runs go side by side; they share one home.
        if is_local() and not (context.run and context.run.tags.get(_PARTITION_TAG)):
            self._lock.enter_context(present().home.lock(what, waiting))
        if context.run and context.instance:
            name = starter(context.run.tags)
            # What the run records itself, as a promotion, is by the same one.
            self._lock.enter_context(acting(name))
            # A run that is started again has the tags of the first one, of another commit perhaps.
            revision = code_revision() or context.run.tags.get(REVISION_TAG)
            origin = {USER_TAG: name} | ({REVISION_TAG: revision} if revision else {})
            stated = process_tag(context.run.run_id) | origin
            context.instance.add_run_tags(context.run.run_id, stated)
            self._instance, self._run_id = context.instance, context.run.run_id

    def teardown_after_execution(self, context: dg.InitResourceContext) -> None:
        self._lock.close()

    def config(self, workflow: Workflow) -> RunConfig:
        """Return the settings of a workflow in this run; teachers are named by version."""
        # A run may also make another workflow's foundation; overrides are not meant for that one.
        is_addressed = self.modality in ("", workflow.modality)
        overrides = self.overrides if is_addressed else []
        config = workflow.config(self.profile, overrides)
        if not config.teachers or self._instance is None:
            return config
        pinned = [
            f"teachers.{name}={self._pinned(self._instance, f'{workflow.modality}-{name}', spec)}"
            for name, spec in config.teachers.items()
        ]
        return workflow.config(self.profile, [*overrides, *pinned])

    def left_out(self, workflow: Workflow) -> frozenset[str]:
        """Return the steps and inputs of a workflow that this run does without."""
        if self.modality not in ("", workflow.modality):
            # A step of the workflow whose foundation the run's own workflow shares.
            asked = load_workflow(self.modality)
            if SHARED in left_out(asked.config(self.profile, self.overrides)):
                return frozenset(workflow.step_names)
        return left_out(self.config(workflow))

    def runtime(self, config: RunConfig) -> Runtime:
        home = Home.from_environment()
        loggers = tuple(logger.open(home) for logger in config.tracking.loggers)
        return Runtime(home.store, config.resources, terminal(), home, loggers)

    def _pinned(self, instance: dg.DagsterInstance, teacher: str, spec: str) -> str:
        """Return the version that `spec` named when the run first asked.

        An alias may move during the run; some steps would then use another lens.
        """
        tag = f"{TEACHER_TAG}{teacher}"
        run = instance.get_run_by_id(self._run_id)
        if run and tag in run.tags:
            return run.tags[tag]
        version = models.find(spec, Home.from_environment().root).uri
        instance.add_run_tags(self._run_id, {tag: version})
        return version


def stated_starter(tags: Mapping[str, str]) -> str:
    """Return whom or what a run's tags name as its starter; empty if nobody."""
    began = (f"{kind} {tags[tag]}" for tag, kind in _BEGAN.items() if tag in tags)
    return printable(tags.get(USER_TAG) or next(began, ""))


def starter(tags: Mapping[str, str]) -> str:
    """Return who started the run of this process, or what did: a schedule, a sensor.

    The tag `vitlens/user` counts. Whoever starts a run again by hand is not the one whom the
    tags of the first run name. A run of a cluster works with an account and a login that no
    person has, so that a run of Dagster's page has no name but $VITLENS_USER there.
    """
    again_by_hand = PARENT in tags and _BEGUN_AGAIN not in tags
    if stated := "" if again_by_hand else stated_starter(tags):
        return stated
    if by_command_line(tags) or is_local():
        return user()
    return os.environ.get(USER) or UNNAMED


def run_config(modality: str, profile: str, overrides: Sequence[str] = ()) -> dict:
    """Return Dagster's run config for these settings."""
    chosen = {"modality": modality, "profile": profile, "overrides": list(overrides)}
    return {"resources": {RESOURCE: {"config": chosen}}}
