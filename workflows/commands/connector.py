"""Train a connector from a version's foundation into a language model, and measure it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import click
from rich.console import Console

from pipelines.connector import job, measuring
from pipelines.connector.figures import (
    FIGURES_FILE,
    TRAINING_FILE,
    ConnectorFigures,
    TrainingRecord,
)
from pipelines.connector.settings import STEP_NAME, ConnectorConfig, MeasuringConfig
from pipelines.evaluation.presenter import fraction
from pipelines.execution.runtime import Resources, Runtime
from pipelines.registry import lineage
from pipelines.registry.version import CHAMPION, ModelVersion
from pipelines.store.artifacts import Artifact
from pipelines.store.files import storage_errors, write_atomic
from pipelines.store.home import Home
from pipelines.store.shards import encode_model
from vitlens_core.errors import ConfigError
from vitlens_core.intervals import Interval
from vitlens_core.plugins.ask.connector import FILE
from vitlens_core.plugins.ask.language import open_language_model
from workflows.console import remark
from workflows.registered import find_version
from workflows.tables import JSON, echo_json, plain_table
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
        of_images = {name: artifacts[name] for name in ("targets", "foundation")}
        made = job.run(runtime, config, language, **of_images)
        found = measuring.measure(runtime, MeasuringConfig(), language, made, **artifacts)
        _write(out, made, found)
    if as_json:
        echo_json(found)
    else:
        _show(Console(), found, out)


def _artifacts(home: Home, model: ModelVersion) -> Mapping[str, Artifact]:
    """Find what a version was made of (`ConfigError`: the store no longer has it)."""
    made_of = lineage.fingerprints(home.root, model)
    by_fingerprint = {artifact.fingerprint: artifact for artifact in home.store.artifacts()}
    found = {name: by_fingerprint.get(made_of.get(name, "")) for name in _READ}
    if missing := [name for name, artifact in found.items() if artifact is None]:
        raise ConfigError(
            f"{model.name} version {model.version}: its {' and '.join(missing)} are not in "
            f"{home.store.root}; run the workflow again, which makes what is missing"
        )
    return {name: artifact for name, artifact in found.items() if artifact is not None}


def _write(out: Path, made: Artifact, found: ConnectorFigures) -> None:
    out.mkdir(parents=True, exist_ok=True)
    chosen = made.read_model(TRAINING_FILE, TrainingRecord).chosen
    write_atomic(out / FILE, made.read_whole(chosen.file))
    write_atomic(out / FIGURES_FILE, encode_model(found))


def _show(console: Console, found: ConnectorFigures, out: Path) -> None:
    table = plain_table("input", "ranked", "first words", "shuffled", "zero-shot")
    for one in found.inputs:
        figures = (one.ranked, one.greedy, one.shuffled, one.zero_shot)
        table.add_row(one.input, *map(_bounded, figures))
    console.print(
        f"naming {found.samples} held-out samples of {found.classes} classes by "
        f"{shown(found.language_model)}, {found.seeds} seeds; chance {fraction(found.chance)}",
        highlight=False,
    )
    console.print(table)
    console.print(
        f"the name itself in the prompt: {_bounded(found.name_in_prompt)}\n"
        f"validation by seed: {', '.join(map(fraction, found.validation))}; "
        f"seed {found.chosen_seed} is kept",
        highlight=False,
    )
    console.print(f"connector {shown(str(out / FILE))}", highlight=False, soft_wrap=True)


def _bounded(figure: Interval) -> str:
    return f"{fraction(figure.value)} ({figure.low:.2f}–{figure.high:.2f})"
