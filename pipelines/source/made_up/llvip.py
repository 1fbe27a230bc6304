"""A made-up LLVIP: street scenes at night, drawn once as heat and once as light.

Writes    the folders and annotations of `llvip`, the same bytes every time.
Promises  both pictures of a frame come from one list of parts: people are warm and clothed,
          lamps and cars are warm without a person, clothes and scenes vary.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from xml.etree import ElementTree

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

WIDTH, HEIGHT = 320, 256
FRAMES_PER_SCENE = 10
SCENES = {"train": range(1, 13), "test": range(19, 25)}
"""The numbers of the scenes begin the names of their frames, as in LLVIP."""

_SCALE = 2  # drawn twice as large, for smooth edges
_NOISE_LEVELS = 4.0

Colour = tuple[int, int, int]
Edges = tuple[float, float, float, float]


@dataclass(frozen=True)
class Part:
    """One shape of a scene: where it is (left, top, right, bottom in pixels) and how it looks."""

    outline: Literal["rectangle", "ellipse"]
    edges: Edges
    warmth: float
    colour: Colour


def write(folder: Path, scenes_of: Mapping[str, range] = SCENES) -> None:
    """Ten frames a scene, by default 120 for training and 60 for the test, with annotations."""
    (folder / "Annotations").mkdir(parents=True)
    for side, scenes in scenes_of.items():
        for light in ("infrared", "visible"):
            (folder / light / side).mkdir(parents=True)
        for scene in scenes:
            street = _street(np.random.default_rng([scene]))
            for number in range(FRAMES_PER_SCENE):
                _write_frame(folder, side, scene, number, street)


def _write_frame(folder: Path, side: str, scene: int, number: int, street: list[Part]) -> None:
    rng = np.random.default_rng([scene, number])
    name = f"{scene:02d}{number:04d}"
    people = list(_places(rng))
    parts = [*street, *_car(rng), *(part for box in people for part in _person(box, rng))]
    exposure = rng.uniform(0.7, 1.2)
    noise = rng.normal(0, _NOISE_LEVELS, (2, HEIGHT, WIDTH, 1))
    infrared = _draw(parts, heat=True)[..., :1] + noise[0]
    visible = _draw(parts, heat=False) * exposure + noise[1]
    _save(infrared[..., 0], folder / "infrared" / side / f"{name}.jpg")
    _save(visible, folder / "visible" / side / f"{name}.jpg")
    _annotate(folder / "Annotations" / f"{name}.xml", name, people)


def _street(rng: np.random.Generator) -> list[Part]:
    """Sky, ground, houses with windows, and a lamp."""
    horizon = rng.uniform(90, 130)
    sky = Part("rectangle", (0, 0, WIDTH, horizon), 0.08, _tint(rng, (18, 20, 34), 8))
    asphalt = _tint(rng, (52, 50, 48), 8)
    ground = Part("rectangle", (0, horizon, WIDTH, HEIGHT), rng.uniform(0.2, 0.45), asphalt)
    houses, left = [], -rng.uniform(0, 40)
    while left < WIDTH:
        right, roof = left + rng.uniform(50, 100), rng.uniform(5, 60)
        houses += _house(rng, (left, roof, right, horizon + rng.uniform(0, 8)))
        left = right + rng.uniform(0, 15)
    lamp = rng.uniform(20, WIDTH - 20)
    pole = Part("rectangle", (lamp - 2, 30, lamp + 2, horizon + 40), 0.25, (70, 70, 70))
    light = Part("ellipse", (lamp - 8, 22, lamp + 8, 38), 0.9, (255, 236, 170))
    return [sky, ground, *houses, pole, light]


def _house(rng: np.random.Generator, edges: Edges) -> Iterator[Part]:
    left, top, right, bottom = edges
    yield Part("rectangle", edges, rng.uniform(0.18, 0.35), _tint(rng, (64, 54, 48), 24))
    for x in np.arange(left + 8, right - 14, 20):
        for y in np.arange(top + 10, bottom - 16, 24):
            lit = rng.random() < 0.4
            colour = (220, 190, 110) if lit else (30, 34, 44)
            warmth = 0.42 if lit else 0.22
            yield Part("rectangle", (x, y, x + 10, y + 13), warmth, colour)


def _car(rng: np.random.Generator) -> Iterator[Part]:
    """In two frames of three a car, its bonnet and wheels warm."""
    if rng.random() < 1 / 3:
        return
    x, y = rng.uniform(-20, WIDTH - 60), rng.uniform(150, 200)
    paint = _tint(rng, (90, 80, 90), 60)
    yield Part("rectangle", (x, y, x + 80, y + 24), 0.4, paint)
    yield Part("rectangle", (x + 16, y - 16, x + 60, y), 0.3, paint)
    yield Part("rectangle", (x + 60, y + 2, x + 80, y + 16), 0.75, paint)
    for wheel in (x + 10, x + 56):
        yield Part("ellipse", (wheel, y + 14, wheel + 16, y + 30), 0.6, (16, 16, 16))


def _places(rng: np.random.Generator) -> Iterator[tuple[int, int, int, int]]:
    """Boxes of one or two people, side by side, feet on the ground."""
    count = int(rng.integers(1, 3))
    for place in range(count):
        tall = int(rng.integers(80, 125))
        wide = int(tall * rng.uniform(0.38, 0.48))
        span = WIDTH // count
        left = place * span + int(rng.integers(4, span - wide - 4))
        bottom = int(rng.integers(tall + 70, HEIGHT - 2))
        yield left, bottom - tall, left + wide, bottom


def _person(box: tuple[int, int, int, int], rng: np.random.Generator) -> list[Part]:
    """Head, trunk, arms and legs that fill the box; clothes are cooler than skin."""
    left, top, right, bottom = box
    wide, tall = right - left, bottom - top
    middle = (left + right) / 2
    stride = rng.uniform(0.05, 0.22) * wide
    coat, trousers = _tint(rng, (120, 110, 120), 90), _tint(rng, (60, 60, 80), 45)
    skin = _tint(rng, (170, 130, 105), 30)
    clothed, bare = rng.uniform(0.45, 0.75), rng.uniform(0.8, 0.95)

    def part(x: float, y: float, half: float, length: float, warmth: float, colour: Colour) -> Part:
        edges = (x - half * wide, top + y * tall, x + half * wide, top + (y + length) * tall)
        return Part("ellipse", edges, warmth, colour)

    return [
        part(middle - stride, 0.52, 0.14, 0.48, clothed - 0.08, trousers),
        part(middle + stride, 0.52, 0.14, 0.48, clothed - 0.08, trousers),
        part(left + 0.1 * wide, 0.18, 0.1, 0.42, clothed, coat),
        part(right - 0.1 * wide, 0.18, 0.1, 0.42, clothed, coat),
        part(middle, 0.15, 0.34, 0.45, clothed, coat),
        part(middle, 0.0, 0.2, 0.18, bare, skin),
    ]


def _tint(rng: np.random.Generator, colour: Colour, spread: float) -> Colour:
    red, green, blue = np.clip(colour + rng.uniform(-spread, spread, 3), 5, 250).astype(int)
    return int(red), int(green), int(blue)


def _draw(parts: list[Part], heat: bool) -> np.ndarray:
    """float [HEIGHT, WIDTH, 3] in 0..255; heat as three equal channels."""
    picture = Image.new("RGB", (WIDTH * _SCALE, HEIGHT * _SCALE))
    pen = ImageDraw.Draw(picture)
    for part in parts:
        grey = round(part.warmth * 255)
        colour = (grey, grey, grey) if heat else part.colour
        shape = pen.ellipse if part.outline == "ellipse" else pen.rectangle
        shape(tuple(edge * _SCALE for edge in part.edges), fill=colour)
    smooth = picture.resize((WIDTH, HEIGHT), Image.Resampling.BOX)
    if heat:  # an infrared lens resolves less
        smooth = smooth.filter(ImageFilter.GaussianBlur(1.5))
    return np.asarray(smooth, dtype=np.float32)


def _save(levels: np.ndarray, path: Path) -> None:
    Image.fromarray(np.clip(levels, 0, 255).astype(np.uint8)).save(path, quality=85)


def _annotate(path: Path, name: str, people: list[tuple[int, int, int, int]]) -> None:
    root = ElementTree.Element("annotation")
    ElementTree.SubElement(root, "filename").text = f"{name}.jpg"
    size = ElementTree.SubElement(root, "size")
    for tag, value in (("width", WIDTH), ("height", HEIGHT), ("depth", 3)):
        ElementTree.SubElement(size, tag).text = str(value)
    for box in people:
        item = ElementTree.SubElement(root, "object")
        ElementTree.SubElement(item, "name").text = "person"
        edges = ElementTree.SubElement(item, "bndbox")
        for tag, value in zip(("xmin", "ymin", "xmax", "ymax"), box, strict=True):
            ElementTree.SubElement(edges, tag).text = str(value)
    ElementTree.indent(root)
    path.write_bytes(ElementTree.tostring(root))
