"""Find in a picture what files of any modality, or words, mean."""

from __future__ import annotations

import json
from pathlib import Path

import click
import torch
from PIL import Image
from rich.console import Console
from rich.progress import track

from pipelines.evaluation.embedding import embed
from pipelines.registry import lineage, models
from pipelines.report import scenes as composed
from pipelines.store.home import Home
from vitlens_core.api import Model
from vitlens_core.errors import ConfigError
from vitlens_core.lens_header import read_settings
from vitlens_core.models.tower import Tower
from vitlens_core.plugins.detect import open_detector
from vitlens_core.plugins.detect.detections import Detections
from vitlens_core.plugins.detect.drawing import drawn
from vitlens_core.sources import locate
from workflows.given import Named, by_modality, takes_model
from workflows.text import shown


@click.command("detect")
@takes_model
@click.argument("picture", required=False, type=click.Path(path_type=Path))
@click.option("--query", "queries", multiple=True, help="A file, MODALITY=FILE, or words.")
@click.option("--by", metavar="MODEL", help="OWL-ViT or OWLv2: a folder, or a name on the hub.")
@click.option(
    "--each", default=1, show_default=True, type=click.IntRange(1), help="Most boxes of a query."
)
@click.option("--least", type=float, help="The lowest score that counts.")
@click.option("--out", type=click.Path(path_type=Path), help="Where the picture with boxes goes.")
@click.option(
    "--scenes", type=click.IntRange(1), help="Measure on so many composed scenes instead."
)
@click.option("--json", "as_json", is_flag=True, help="Print the boxes as JSON.")
def command(
    named: Named,
    picture: Path | None,
    queries: tuple[str, ...],
    by: str | None,
    each: int,
    least: float | None,
    out: Path | None,
    scenes: int | None,
    as_json: bool,
) -> None:
    """Find in a picture what files of any modality, or words, mean.

    With --scenes it composes pictures of held-out rendered objects of a registered version, asks
    for each by its signal, and states the average precision; --out is then their folder.
    """
    console = Console()
    if scenes is not None:
        measure(console, named, scenes, out)
        return
    if picture is None or not queries:
        raise ConfigError("expected a picture and at least one --query, or --scenes")
    model = named.open()
    groups = by_modality(model, queries)
    detector = open_detector(by, named.device) if by else None
    found = model.detect(str(picture), groups, by=detector, least=least, trusted=False)
    best = found.best_of_each(each)
    # The verb numbers queries modality by modality.
    names = [Path(item).name for items in groups.values() for item in items]
    _print(console, best, names, as_json)
    if out:
        drawn(model.raw_image(str(picture), trusted=False), best, names).save(out)
        console.print(f"picture {shown(str(out))}", highlight=False)


def _print(console: Console, found: Detections, names: list[str], as_json: bool) -> None:
    rows = [
        (names[int(query)], round(float(score), 4), [round(float(value), 1) for value in box])
        for box, score, query in zip(found.boxes, found.scores, found.queries, strict=True)
    ]
    if as_json:
        click.echo(json.dumps([{"query": q, "score": s, "box": b} for q, s, b in rows]))
        return
    for query, score, box in rows:
        console.print(f"{score:.3f}  {query}  {box}", markup=False, highlight=False)
    if not rows:
        console.print("nothing found")


def measure(console: Console, named: Named, count: int, out: Path | None) -> None:
    """Measure a registered version on composed scenes, and write these into a folder.

    Raises:
        ConfigError: the source is no registered version, its shards hold no rendered objects, or
            further lenses are named.
    """
    if named.lenses:
        raise ConfigError("--scenes measures the lens of one registered version: leave out --lens")
    home, source = Home.from_environment(), named.source
    version = models.find(source, home.root)
    made_of = lineage.fingerprints(home.root, version)
    shards = next(
        (a for a in home.store.artifacts() if a.fingerprint == made_of.get("shards")), None
    )
    if shards is None:
        raise ConfigError(f"{source}: the shards it was trained on are not in {home.store.root}")
    model = named.open()
    samples = composed.held_out(shards)
    labels = composed.labels_of(samples)
    scenes = composed.compose(samples, count)
    found = composed.measure(
        list(track(scenes, "scenes", console=Console(stderr=True))),
        labels,
        _signals(model, source, samples),
        lambda crops: model.encode({"image": list(crops)})["image"],
    )
    console.print(
        f"average precision at an overlap of {composed.HIT:g}, {found.queries} queries by "
        f"{model.modalities[0]} in {count} scenes\n"
        f"  its own signal                {found.own:.3f}\n"
        f"  another object of its class   {found.same_class:.3f}\n"
        f"  control: a class not there    {found.other_class:.3f}",
        highlight=False,
    )
    if out:
        out.mkdir(parents=True, exist_ok=True)
        for number, scene in enumerate(scenes):
            Image.fromarray(scene.picture).save(out / f"scene-{number:03}.png")


def _signals(model: Model, source: str, samples: list) -> torch.Tensor:
    """Embed the stored signal of every sample: [N, E]."""
    settings = read_settings(locate(source))[0]
    tower = model.tower(settings.modality)
    assert isinstance(tower, Tower)
    return torch.from_numpy(embed(tower, settings, samples))
