"""pictures: the drawings of the pages, from the code's own declarations.

    python -m docs.generators.pictures    writes docs/pictures/*.svg

The files are kept, since README shows one; a test compares them with what is drawn now.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping
from itertools import pairwise
from pathlib import Path

from docs.generators.svg import Box, Kind, Picture
from pipelines.execution.step import Step
from pipelines.flow import STEPS
from pipelines.registry.gates.base import TIERS

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "docs" / "pictures"
MADE_BY: Mapping[str, Kind] = {
    "driver": "plain",
    "Ray Data": "data",
    "Ray Train": "train",
    "torch": "measure",
}
OF_PACKAGE: Mapping[str, Kind] = {
    "workflows": "keep",
    "pipelines": "data",
    "vitlens_core": "measure",
}
_WIDTH, _HEIGHT = 118, 54


def flow() -> Picture:
    """Every step with the inputs that no other input brings along, in two rows."""
    inputs = _direct_inputs()
    columns = _columns(inputs)
    broken_after = len(columns) // 2 + 1
    picture = Picture(790, 370, "The flow, from objects to a champion")
    boxes: dict[str, Box] = {}
    for number, column in enumerate(columns):
        row, place = divmod(number, broken_after)
        for line, step in enumerate(column):
            x, y = 18 + 157 * place, (30 if row == 0 else 205) + 76 * line
            boxes[step.name] = picture.box(
                Box(x, y, _WIDTH, _HEIGHT),
                step.name,
                step.made_by,
                kind=MADE_BY[step.made_by],
                tip=step.description,
            )
    for name, names in inputs.items():
        for start in names:
            _connect(picture, boxes[start], boxes[name])
    _model(picture, boxes)
    _legend(picture, 352)
    return picture


def _direct_inputs() -> dict[str, list[str]]:
    """Of every step, the inputs that are not inputs of another of its inputs."""
    whole: dict[str, set[str]] = {}
    for step in STEPS:
        own = set(step.inputs)
        whole[step.name] = own.union(*(whole[name] for name in own)) if own else set()
    return {
        step.name: [
            name
            for name in step.inputs
            if not any(name in whole[other] for other in step.inputs if other != name)
        ]
        for step in STEPS
    }


def _columns(inputs: Mapping[str, list[str]]) -> list[list[Step]]:
    """Steps side by side as early as their inputs allow; what only lists stands by its user."""
    depth: dict[str, int] = {}
    for step in STEPS:
        depth[step.name] = 1 + max((depth[name] for name in inputs[step.name]), default=-1)
    users = {name: user for user, names in inputs.items() for name in names}
    for step in STEPS:
        if not step.inputs:
            depth[step.name] = depth[users[step.name]] - 1
    first = min(depth.values())
    columns: list[list[Step]] = [[] for _ in range(max(depth.values()) - first + 1)]
    for step in STEPS:
        columns[depth[step.name] - first].append(step)
    return columns


def _connect(picture: Picture, start: Box, end: Box) -> None:
    if end.x > start.x:
        (x, y), (to_x, to_y) = start.at("right"), end.at("left")
        middle = x + (to_x - x) / 2
        via = () if y == to_y else ((middle, y), (middle, to_y))
        picture.arrow((x, y), (to_x, to_y), via=via)
        return
    # To the next row: below the first one, and in from the left.
    (x, y), (to_x, to_y) = start.at("bottom"), end.at("top")
    between = to_y - 20
    picture.arrow((x, y), (to_x, to_y), via=((x, between), (to_x, between)))


def _model(picture: Picture, boxes: Mapping[str, Box]) -> None:
    """Challenger and champion, behind the last step."""
    last = boxes["benchmarks"]
    challenger = Box(last.x + 157, last.y, _WIDTH, _HEIGHT)
    picture.box(challenger, "challenger", "MLflow", kind="keep", tip="A registered version")
    champion = Box(challenger.x + 157, last.y, _WIDTH, _HEIGHT)
    picture.box(champion, "champion", "MLflow", kind="keep", tip="The version that people load")
    picture.arrow(last.at("right"), challenger.at("left"))
    picture.arrow(challenger.at("right"), champion.at("left"), "gates")
    service = Box(champion.x, last.y + 76, _WIDTH, _HEIGHT)
    picture.box(service, "service", "Ray Serve", kind="keep", tip="The champion over HTTP")
    picture.arrow(champion.at("bottom"), service.at("top"))
    index = boxes["index"]
    picture.arrow(index.at("right"), service.at("left"), is_dashed=True)


def _legend(picture: Picture, y: float) -> None:
    shown: dict[str, Kind] = {**MADE_BY, "MLflow, Ray Serve": "keep"}
    for number, (words, kind) in enumerate(shown.items()):
        x = 18 + 130 * number
        picture.box(Box(x, y - 9, 12, 12), "", kind=kind)
        picture.text(x + 19, y + 1, words, size=11, anchor="start", is_soft=True)


def layers() -> Picture:
    """The order that import-linter holds the imports to, as pyproject.toml states it."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    by_layers = [c["layers"] for c in contracts["contracts"] if c["type"] == "layers"]
    packages, inside = by_layers[0], by_layers[1]
    rows: list[tuple[str, list[str]]] = []
    for package in packages:
        if package != "pipelines":
            rows.append((package, [package]))
            continue
        rows += [(package, [part.strip() for part in layer.split("|")]) for layer in inside]
    height = 34 * len(rows) + 46
    picture = Picture(720, height, "Layers: each knows only what stands below it")
    for number, (package, names) in enumerate(rows):
        y = 14 + 34 * number
        kind = OF_PACKAGE[package]
        width = (480 - 10 * (len(names) - 1)) / len(names)
        for place, name in enumerate(names):
            picture.box(Box(150 + (width + 10) * place, y, width, 27), name, kind=kind)
        if number == 0 or rows[number - 1][0] != package:
            picture.text(136, y + 18, package, weight=600, anchor="end")
    picture.arrow((668, 20), (668, height - 44))
    picture.text(668, height - 24, "may import", size=11, is_soft=True)
    return picture


def tower() -> Picture:
    """How a signal becomes an embedding, and which parts are trained."""
    picture = Picture(790, 250, "A lens on the foundation's frozen trunk")
    parts: list[tuple[str, str, Kind]] = [
        ("signal", "as stored", "plain"),
        ("tokenizer", "trained", "train"),
        ("lens", "trained", "train"),
        ("trunk", "frozen ViT", "frozen"),
        ("projection", "frozen", "frozen"),
    ]
    boxes = _row(picture, parts, y=40, width=112, gap=42, left=20)
    for box, words in zip(boxes[1:], ("tokens", "latents", "features"), strict=False):
        picture.text(box.x + 133, box.y + 74, words, size=11, is_soft=True)
    space = picture.box(Box(630, 165, 124, 54), "one space", "embeddings [B, E]", kind="keep")
    picture.arrow(boxes[-1].at("bottom"), space.at("top"))
    image = picture.box(Box(328, 165, 112, 54), "image", "frozen ViT", kind="frozen")
    text = picture.box(Box(174, 165, 112, 54), "text", "frozen tower", kind="frozen")
    picture.arrow(image.at("right"), space.at("left"))
    picture.arrow(
        text.at("bottom"), space.at("bottom"), via=((230, 236), (space.at("bottom")[0], 236))
    )
    return picture


def sample() -> Picture:
    """What becomes of one sample, step by step."""
    picture = Picture(790, 210, "The life of a sample")
    first: list[tuple[str, str, Kind]] = [
        ("selected", "side, shard", "plain"),
        ("fetched", "or quarantined", "data"),
        ("rendered", "in a child", "data"),
        ("paired", "signal, images", "data"),
        ("targets", "computed once", "data"),
    ]
    second: list[tuple[str, str, Kind]] = [
        ("trained on", "split train", "train"),
        ("validated on", "split val", "measure"),
        ("held out", "split test", "measure"),
        ("indexed", "every split", "keep"),
    ]
    upper = _row(picture, first, y=24, width=118, gap=39, left=18)
    lower = [
        picture.box(Box(112 + 157 * n, 132, 118, 54), name, note, kind=kind)
        for n, (name, note, kind) in enumerate(second)
    ]
    bend = 105
    start = upper[-1].at("bottom")
    for box in lower:
        end = box.at("top")
        picture.arrow(start, end, via=((start[0], bend), (end[0], bend)))
    return picture


def setting() -> Picture:
    """From three layers of settings to a fingerprint."""
    picture = Picture(790, 190, "The life of a setting")
    for number, (name, note) in enumerate(
        (("base", "defs.yaml"), ("profile", "defs.yaml"), ("--set a.b=c", "command line"))
    ):
        box = picture.box(Box(18, 14 + 58 * number, 118, 46), name, note)
        picture.arrow(
            box.at("right"), (185, 95), via=((160, box.at("right")[1]), (160, 95)) * (number != 1)
        )
    parts: list[tuple[str, str, Kind]] = [
        ("checked", "RunConfig, frozen", "measure"),
        ("section", "of one step", "measure"),
        ("fingerprint", "settings, inputs", "data"),
        ("artifact", "made or found", "data"),
    ]
    _row(picture, parts, y=68, width=118, gap=36, left=185)
    return picture


def version() -> Picture:
    """A version's way through the tiers."""
    picture = Picture(790, 190, "The life of a model version")
    names = ["registered", *TIERS, "promoted"]
    width, gap = 108, 24
    boxes = []
    for number, name in enumerate(names):
        is_tier = name in TIERS
        note = f"tier {number - 1}" if is_tier else "champion" if number else "challenger"
        place = Box(14 + (width + gap) * number, 30, width, 54)
        shown = name.replace("_", "-")
        boxes.append(picture.box(place, shown, note, kind="measure" if is_tier else "keep"))
    for start, end in pairwise(boxes):
        picture.arrow(start.at("right"), end.at("left"))
    stays = picture.box(Box(278, 124, 240, 46), "stays challenger", "a gate failed", is_dashed=True)
    for box in boxes[1:-1]:
        picture.arrow(
            box.at("bottom"),
            (min(max(box.at("bottom")[0], stays.x + 12), stays.x + stays.width - 12), stays.y),
            is_dashed=True,
        )
    return picture


def aliases() -> Picture:
    """Which alias moves where."""
    picture = Picture(700, 150, "Aliases of a registered model, and what moves them")
    challenger = picture.box(Box(20, 50, 130, 54), "challenger", "registered last", kind="measure")
    champion = picture.box(Box(285, 50, 130, 54), "champion", "what people load", kind="keep")
    picture.box(Box(550, 50, 130, 54), "previous", "champion before", kind="plain")
    picture.arrow(challenger.at("right"), champion.at("left"), "gates passed,")
    picture.text(217, 93, "or promote", size=11, is_soft=True)
    picture.arrow((400, 50), (565, 50), via=((400, 28), (565, 28)))
    picture.text(482, 21, "promote", size=11, is_soft=True)
    picture.arrow((565, 104), (400, 104), via=((565, 126), (400, 126)))
    picture.text(482, 141, "rollback", size=11, is_soft=True)
    return picture


def _row(
    picture: Picture,
    parts: list[tuple[str, str, Kind]],
    *,
    y: float,
    width: float,
    gap: float,
    left: float,
) -> list[Box]:
    """Boxes in a row, an arrow from each to the next."""
    boxes = [
        picture.box(Box(left + (width + gap) * n, y, width, 54), name, note, kind=kind)
        for n, (name, note, kind) in enumerate(parts)
    ]
    for start, end in pairwise(boxes):
        picture.arrow(start.at("right"), end.at("left"))
    return boxes


PICTURES: Mapping[str, Callable[[], Picture]] = {
    draw.__name__: draw for draw in (flow, layers, tower, sample, setting, version, aliases)
}


def main() -> None:
    for name, draw in PICTURES.items():
        (FOLDER / f"{name}.svg").write_text(draw().render())


if __name__ == "__main__":
    main()
