"""Train a connector from a version's foundation into a language model, and measure it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import click
from rich.console import Console

from pipelines import report
from pipelines.connector import job, measuring
from pipelines.connector.figures import (
    FIGURES_FILE,
    TRAINING_FILE,
    ConnectorFigures,
    TrainingRecord,
    naming_table,
)
from pipelines.connector.settings import STEP_NAME, ConnectorConfig, MeasuringConfig
from pipelines.evaluation.presenter import fraction
from pipelines.execution.runtime import Resources, Runtime
from pipelines.registry import models
from pipelines.registry.version import CHAMPION, ModelVersion
from pipelines.report.content import PAGE_FILE, Report
from pipelines.store.artifacts import Artifact
from pipelines.store.files import storage_errors, write_atomic
from pipelines.store.home import Home
from pipelines.store.shards import encode_model
from vitlens_core.errors import ConfigError
from vitlens_core.plugins.ask.connector import FILE
from vitlens_core.plugins.ask.language import open_language_model
from workflows.console import remark
from workflows.registered import find_version, stored_artifacts
from workflows.summary import console_table
from workflows.tables import JSON, echo_json
from workflows.text import shown

_READ = ("targets", "foundation", "lens")


@click.command("connector")
@click.argument("modality")
@click.argument("version", default=CHAMPION)
@click.option(
    "--language-model",
    required=True,
    metavar="MODEL",
    help="A causal one: a folder, or a hub name.",
)
@click.option("--seeds", default=3, show_default=True, type=click.IntRange(1), help="Trainings.")
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    default=STEP_NAME,
    show_default=True,
    help="Folder for the connector and its figures.",
)
@click.option("--device", default="cpu", show_default=True, help="As torch names it.")
@click.option(
    "--dtype",
    default="float32",
    show_default=True,
    type=click.Choice(["auto", "float32", "bfloat16"]),
    help="Arithmetic of the language model.",
)
@JSON
def command(
    modality: str,
    version: str,
    language_model: str,
    seeds: int,
    out: Path,
    device: str,
    dtype: str,
    as_json: bool,
) -> None:
    """Train a connector from a version's foundation into a language model, and measure it.

    It is trained on the foundation's image embeddings of the version's training objects; the lens
    is put in only to be measured. `vitlens ask … --by MODEL --connector FILE` uses it.
    """
    _, model = find_version(modality, version)
    home = Home.from_environment()
    artifacts = _artifacts(home, model)
    language = open_language_model(language_model, device, dtype)
    resources = Resources(encode_gpus=1 if device.startswith("cuda") else 0)
    runtime = Runtime(home.store, resources, home=home)
    with home.lock(f"a connector of {modality}", remark), storage_errors():
        config = ConnectorConfig(seeds=seeds)
        targets, foundation, lens = (artifacts[name] for name in _READ)
        made = job.run(runtime, config, language, targets, foundation)
        found = measuring.measure(
            runtime, MeasuringConfig(), language, made, targets, foundation, lens
        )
        _write(out, made, found)
        page = _report(home, model, artifacts, found)
    if as_json:
        echo_json(found)
    else:
        _show(Console(), found, out, page)


def _artifacts(home: Home, model: ModelVersion) -> Mapping[str, Artifact]:
    """Find what a version was made of, by step.

    Raises:
        ConfigError: the store no longer has what a connector is made and measured with.
    """
    found = stored_artifacts(home, model)
    if missing := [name for name in _READ if name not in found]:
        raise ConfigError(
            f"{model.name} version {model.version}: its {' and '.join(missing)} are not in "
            f"{home.store.root}; run the workflow again, which makes what is missing"
        )
    return found


def _write(out: Path, made: Artifact, found: ConnectorFigures) -> None:
    out.mkdir(parents=True, exist_ok=True)
    chosen = made.read_model(TRAINING_FILE, TrainingRecord).chosen
    write_atomic(out / FILE, made.read_whole(chosen.file))
    write_atomic(out / FIGURES_FILE, encode_model(found))


def _report(
    home: Home, model: ModelVersion, artifacts: Mapping[str, Artifact], found: ConnectorFigures
) -> Path | None:
    """Add the figures to the report of the version's run; None if it cannot be drawn here."""
    folder = home.report_folder(model.evaluation)
    if not (folder / PAGE_FILE).exists():
        return None
    if Report.read(folder).fingerprints.keys() - artifacts.keys():
        return None
    report.add_connector(folder, artifacts, found)
    models.log_report(home.root, model, folder)
    return folder / PAGE_FILE


def _show(console: Console, found: ConnectorFigures, out: Path, page: Path | None) -> None:
    table = console_table(naming_table(found))
    table.title = (
        f"{found.samples} held-out samples of {found.classes} classes, named by "
        f"{shown(found.language_model)}, {found.seeds} seeds"
    )
    table.caption = (
        f"chance {fraction(found.chance)}; validation by seed: "
        f"{', '.join(map(fraction, found.validation))}; seed {found.chosen_seed} is kept"
    )
    console.print(table)
    console.print(f"connector {shown(str(out / FILE))}", highlight=False, soft_wrap=True)
    where = f"report {shown(str(page))}" if page else "no report: this home has none of its run"
    console.print(where, highlight=False, soft_wrap=True)
