"""Draw what a file of any modality means, or find the nearest pictures."""

from __future__ import annotations

from pathlib import Path

import click
from PIL import Image
from rich.console import Console

from vitlens_core.api import Model
from vitlens_core.errors import ConfigError
from vitlens_core.plugins.imagine.sheet import sheet
from vitlens_core.plugins.imagine.statistics import FILE, ImageStatistics
from workflows.given import Named, by_modality, split_named, takes_model
from workflows.text import shown

_PICTURES = (".png", ".jpg", ".jpeg", ".webp")
_SHOWN = 5
_DRAWN = "imagined.png"


@click.command("imagine")
@takes_model
@click.argument("file")
@click.option("--with", "further", multiple=True, metavar="FILE[:WEIGHT]", help="Added to it.")
@click.option("--by", metavar="MODEL", help="A pipeline of diffusers: a folder, or a hub name.")
@click.option("--encoder", metavar="MODEL", help="The image encoder that it was trained with.")
@click.option("--adapter", type=click.Path(path_type=Path), help="Safetensors of an IP-Adapter.")
@click.option("--statistics", type=click.Path(path_type=Path), help=f"Default: {FILE}, made once.")
@click.option("--among", type=click.Path(path_type=Path), help="A folder of pictures.")
@click.option(
    "--signals",
    multiple=True,
    metavar="[MODALITY=]FOLDER",
    help="Signals of a modality; the first time their mean is measured beside that of --among.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help=f"The picture; default with --by: {_DRAWN}. Without --by: the found ones side by side.",
)
@click.option("--seed", default=0, show_default=True, type=int)
@click.option("--steps", default=25, show_default=True, type=click.IntRange(1))
def command(
    named: Named,
    file: str,
    further: tuple[str, ...],
    by: str | None,
    encoder: str | None,
    adapter: Path | None,
    statistics: Path | None,
    among: Path | None,
    signals: tuple[str, ...],
    out: Path | None,
    seed: int,
    steps: int,
) -> None:
    """Draw what a file of any modality means, or find the nearest pictures.

    Without --by the pictures of --among that are nearest to the same embedding are shown. With it,
    --among measures the statistics that the decoder needs, the first time; by those of --signals
    embeddings of other modalities are moved to where the decoder knows pictures.
    """
    console = Console()
    model = named.open()
    inputs, weights = _weighted(model, file, further)
    if by is None:
        _retrieve(console, model, inputs, weights, _pictures(among), out)
        return
    out = out or Path(_DRAWN)
    decoder = model.decoder(by, encoder=encoder, adapter=adapter, device=named.device)
    stated = _statistics(model, statistics or Path(FILE), among, signals)
    if unmoved := sorted(set(inputs) - set(stated.means) - {"image"}):
        console.print(
            f"[dim]{', '.join(unmoved)}: no mean is known, so that the embedding is not moved "
            "(--signals)[/]"
        )
    drawn = model.imagine(
        inputs, by=decoder, statistics=stated, weights=weights, seed=seed, steps=steps,
        trusted=False,
    )  # fmt: skip
    drawn[0].save(out)
    console.print(f"picture {shown(str(out))}", highlight=False)


def _weighted(
    model: Model, file: str, further: tuple[str, ...]
) -> tuple[dict[str, str], dict[str, float]]:
    """Return inputs and weights by modality.

    Raises:
        ConfigError: a weight is no number, or two inputs have one modality.
    """
    inputs: dict[str, str] = {}
    weights: dict[str, float] = {}
    for item, weight in [(file, 1.0), *map(_with_weight, further)]:
        modality, path = split_named(model, item)
        if modality in inputs:
            raise ConfigError(f"two inputs of {modality}: {inputs[modality]} and {path}; name one")
        inputs[modality], weights[modality] = path, weight
    return inputs, weights


def _with_weight(item: str) -> tuple[str, float]:
    path, colon, weight = item.rpartition(":")
    if not colon:
        return item, 1.0
    try:
        return path, float(weight)
    except ValueError:
        raise ConfigError(f"--with {item}: expected FILE or FILE:WEIGHT, as rain.wav:0.5") from None


def _pictures(folder: Path | None) -> list[Path]:
    if folder is None or not folder.is_dir():
        raise ConfigError(
            f"no decoder is given (--by): name a folder of pictures to search, --among; found "
            f"{folder}"
        )
    pictures = sorted(path for path in folder.iterdir() if path.suffix.lower() in _PICTURES)
    if not pictures:
        raise ConfigError(f"{folder} holds no pictures ({', '.join(_PICTURES)})")
    return pictures


def _statistics(
    model: Model, path: Path, among: Path | None, signals: tuple[str, ...]
) -> ImageStatistics:
    """Read the foundation's statistics, or measure and keep them.

    Raises:
        ConfigError: there are none and no pictures to measure them on, or they are there and have
            no mean of the signals.
    """
    given = _signals(model, signals)
    if path.is_file():
        known = ImageStatistics.load(path, model.token_source("image").trunk)
        if lacking := sorted(set(given) - set(known.means)):
            raise ConfigError(
                f"{path} has no mean of {', '.join(lacking)}: remove it, and it is measured anew"
            )
        return known
    if among is None:
        raise ConfigError(
            f"{path} is missing: name a folder of pictures (--among), on which the length and mean "
            "of image embeddings are measured once"
        )
    pictures = list(map(str, _pictures(among)))
    measured = model.image_statistics(pictures, given, trusted=False)
    measured.save(path)
    return measured


def _signals(model: Model, folders: tuple[str, ...]) -> dict[str, list[str]]:
    """Return the files of folders by modality.

    Raises:
        ConfigError: there is no such folder, or no modality of the model reads a file in it.
    """
    items = []
    for given in folders:
        modality, equals, name = given.rpartition("=")
        if not Path(name).is_dir():
            raise ConfigError(f"--signals {given}: no folder {name}")
        files = sorted(path for path in Path(name).iterdir() if path.is_file())
        items += [f"{modality}{equals}{path}" for path in files]
    return by_modality(model, items)


def _retrieve(
    console: Console,
    model: Model,
    inputs: dict[str, str],
    weights: dict[str, float],
    pictures: list[Path],
    out: Path | None,
) -> None:
    found = model.retrieve(inputs, pictures, weights=weights, count=_SHOWN, trusted=False)
    console.print("[dim]no decoder: the nearest pictures, by cosine[/]")
    for path, cosine in found[0]:
        console.print(f"{cosine:.3f}  {path}", markup=False, highlight=False)
    if out is not None:
        seen = [Image.fromarray(model.raw_image(path, trusted=False)) for path, _ in found[0]]
        sheet(seen, [f"{cosine:.3f}" for _, cosine in found[0]]).save(out)
        console.print(f"picture {shown(str(out))}", highlight=False)
