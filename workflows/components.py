"""components: turns a modality's `defs.yaml` into its Dagster definitions.

    objects ─▶ renders ─┐
                        ├─▶ shards ─▶ foundation ─▶ targets ─▶ lens ─▶ evaluation
    source ─────────────┘           ─▶ index ─▶ benchmarks ─▶ challenger ─(gates)─▶ champion

The gates of every tier (`registry.acceptance`) are blocking checks on `challenger`: if one
fails, `champion` does not run.
Schedules and sensors are in `automation`, data sets built in pieces in `backfill`.
Assets contain no science: they load the settings, call the step and report metadata.
"""

# Without postponed annotations: Dagster looks at the type of an asset's `context` itself.
from collections.abc import Iterator, Mapping

import dagster as dg

from pipelines import report
from pipelines.config import RunConfig
from pipelines.flow import FlowStep
from pipelines.registry import acceptance
from pipelines.registry.registry import Registry
from pipelines.registry.version import ModelVersion
from pipelines.store.artifacts import Artifact
from workflows import metadata
from workflows.artifact_io import made
from workflows.automation import freshness_of, schedule_of, sensor_of
from workflows.backfill import backfill_of
from workflows.console import show_artifact, show_gates, show_replaced, show_version
from workflows.retries import retried
from workflows.settings import MODALITY_TAG, RunSettings, run_config
from workflows.spec import DEFAULT_PROFILE, Workflow
from workflows.workplace import Workplace

ARTIFACTS = "artifacts"
_KINDS = {"driver": "python", "torch": "pytorch", "Ray Data": "ray", "Ray Train": "ray"}
# Dagster lets so many steps of a pool go at once as its settings say; by what they take.
_POOLS = {"torch": "compute", "Ray Data": "data", "Ray Train": "training"}
WARN, ERROR = dg.AssetCheckSeverity.WARN, dg.AssetCheckSeverity.ERROR


class ModalityWorkflow(Workflow, dg.Component, dg.Resolvable):
    """Assets, gates, jobs, schedule and sensor of one modality."""

    def build_defs(self, context: dg.ComponentLoadContext) -> dg.Definitions:
        job = dg.define_asset_job(
            self.modality,
            selection=self._selection(),
            description=self.description,
            config=run_config(self.modality, DEFAULT_PROFILE),
            tags={
                # A run that is begun again finds what the first made, whatever step it ended in.
                "dagster/retry_strategy": "ALL_STEPS",
                MODALITY_TAG: self.modality,
            },
            # One process, so that all steps share one Ray.
            executor_def=dg.in_process_executor,
        )
        own = dg.Definitions(
            assets=[*map(self._step, self.steps), self._challenger(), self._champion()],
            asset_checks=[self._gates()],
            jobs=[job],
            schedules=[schedule_of(self, self.schedule, job)] if self.schedule else [],
            sensors=[sensor_of(self, self.sensor, job)] if self.sensor else [],
        )
        if self.pieces is None:
            return own
        return dg.Definitions.merge(own, backfill_of(self, self.pieces))

    def _selection(self) -> dg.AssetSelection:
        """Select the workflow's assets, and everything a shared foundation is made of."""
        names = (*(step.name for step in self.steps), "challenger", "champion")
        own = dg.AssetSelection.assets(*map(self._key, names))
        if self.foundation_of is None:
            return own
        return own | dg.AssetSelection.assets(self._key("shared")).upstream()

    def _key(self, name: str) -> dg.AssetKey:
        if name == "shared":
            return dg.AssetKey([str(self.foundation_of), "foundation"])
        return dg.AssetKey([self.modality, name])

    def _inputs(self, names: tuple[str, ...]) -> dict[str, dg.AssetIn]:
        return {name: dg.AssetIn(self._key(name)) for name in names}

    def _step(self, step: FlowStep) -> dg.AssetsDefinition:
        @dg.asset(
            key=self._key(step.name),
            ins=self._inputs(step.inputs),
            group_name=self.modality,
            owners=self.owners,
            description=step.description,
            io_manager_key=ARTIFACTS,
            kinds={_KINDS[step.declared.made_by]},
            pool=_POOLS.get(step.declared.made_by),
        )
        def make(
            context: dg.AssetExecutionContext,
            settings: RunSettings,
            workplace: dg.ResourceParam[Workplace],
            **inputs: Artifact | None,
        ) -> dg.Output:
            without = settings.left_out(self)
            if step.name in without:
                return dg.Output(None, metadata=metadata.of_left_out(step.name))
            config = settings.config(self)
            runtime = settings.runtime(config)
            read = {n: a for n, a in inputs.items() if a is not None and n not in without}
            with retried(context, workplace.retries):
                artifact = workplace.run_step(step, runtime, config, read)
            show_artifact(runtime.console, artifact)
            links = metadata.of_run(workplace, artifact)
            return dg.Output(artifact, metadata=links | metadata.of_artifact(artifact))

        return make

    def _challenger(self) -> dg.AssetsDefinition:
        @dg.asset(
            key=self._key("challenger"),
            # What registering waits for; it reads all artifacts of the run (`_artifacts`).
            deps=[self._key(name) for name in ("evaluation", "index", "benchmarks")],
            group_name=self.modality,
            owners=self.owners,
            description="The evaluated lens as a registered version, its gates checked.",
            kinds={"mlflow"},
        )
        def register(
            context: dg.AssetExecutionContext,
            settings: RunSettings,
            workplace: dg.ResourceParam[Workplace],
        ) -> dg.MaterializeResult:
            config, artifacts = settings.config(self), self._artifacts(context)
            runtime, registry = settings.runtime(config), workplace.registry
            with retried(context, workplace.retries):
                model = registry.register_challenger(self.modality, config, artifacts)
                show_version(runtime.console, "challenger", model)
                model = acceptance.check_gates(runtime, registry, config, artifacts, model)
                show_gates(runtime.console, model.gates)
                return self._reported(workplace, settings.profile, config, artifacts, model)

        return register

    def _gates(self) -> dg.AssetChecksDefinition:
        key, evaluation = self._key("challenger"), self._key("evaluation")
        specs = [
            dg.AssetCheckSpec(
                name,
                asset=key,
                additional_deps=[evaluation],
                blocking=True,
                description=str(self.gates.get(name, "checked for every modality")),
            )
            for name in acceptance.names(self.gates)
        ]

        @dg.multi_asset_check(
            name=f"{self.modality}_gates",
            specs=specs,
            ins=self._inputs(("evaluation",)),
        )
        def check(
            workplace: dg.ResourceParam[Workplace], evaluation: Artifact
        ) -> Iterator[dg.AssetCheckResult]:
            for result in self._registered(workplace.registry, evaluation).gates:
                yield dg.AssetCheckResult(
                    asset_key=key,
                    check_name=result.name,
                    # A skipped gate is a warning: yellow, and it blocks nothing.
                    passed=result.passed and not result.skipped,
                    severity=WARN if result.skipped else ERROR,
                    description=f"{result.outcome}: {result.reason}",
                    metadata=metadata.of_gate(result),
                )

        return check

    def _champion(self) -> dg.AssetsDefinition:
        @dg.asset(
            key=self._key("champion"),
            deps=[self._key("challenger")],
            group_name=self.modality,
            owners=self.owners,
            description="The version that consumers load; promoted once its gates have passed.",
            kinds={"mlflow"},
            freshness_policy=freshness_of(self.schedule) if self.schedule else None,
        )
        def promote(
            context: dg.AssetExecutionContext,
            settings: RunSettings,
            workplace: dg.ResourceParam[Workplace],
        ) -> dg.MaterializeResult:
            config, artifacts = settings.config(self), self._artifacts(context)
            registry, console = workplace.registry, settings.runtime(config).console
            with retried(context, workplace.retries):
                model = self._registered(registry, artifacts["evaluation"])
                if move := registry.replaced(model):
                    show_replaced(console, model, move)
                else:
                    model = registry.promote(model, f"a run of profile {settings.profile}")
                    show_version(console, "champion", model)
                return self._reported(workplace, settings.profile, config, artifacts, model)

        return promote

    def _artifacts(self, context: dg.AssetExecutionContext) -> dict[str, Artifact]:
        """Return what the run made, by step and in order.

        Not as inputs: the graph would have an edge from every step, and show no flow.
        """
        found = {
            name: made(context.instance, context.run_id, self._key(name))
            for name in self.step_names
        }
        return {name: artifact for name, artifact in found.items() if artifact is not None}

    def _registered(self, registry: Registry, evaluation: Artifact) -> ModelVersion:
        """Return the version that an evaluation was registered as."""
        versions = registry.versions(self.modality)
        return next(v for v in versions if v.evaluation == evaluation.fingerprint)

    def _reported(
        self,
        workplace: Workplace,
        profile: str,
        config: RunConfig,
        artifacts: Mapping[str, Artifact],
        model: ModelVersion,
    ) -> dg.MaterializeResult:
        """Write the report with the version's present aliases, and log it to its MLflow run."""
        home = workplace.home.root
        write = workplace.write_report or report.write
        pages = workplace.registry.pages(model)
        folder = write(home, config, artifacts, model.gates, model, profile, pages)
        workplace.registry.log_report(model, folder)
        return dg.MaterializeResult(metadata=metadata.of_version(pages, model, folder))
