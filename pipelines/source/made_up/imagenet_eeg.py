"""Generated recordings in ImageNet-EEG's layout, so that the steps run without the data set.

A class is a thing drawn in its own shape and colours, and a set of waves with its own places on
the scalp. Position, size and angle of the drawing also shift, amplify and mix the waves, so that a
recording and its picture share more than the class. People differ in how their scalps mix waves.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor

CLASSES: dict[str, tuple[str, str, str]] = {
    # synset: shape, colour, background
    "n03445777": ("disc", "white", "forestgreen"),
    "n07753592": ("crescent", "gold", "linen"),
    "n07873807": ("dotted", "orange", "saddlebrown"),
    "n03982430": ("box", "seagreen", "dimgray"),
    "n11939491": ("flower", "ivory", "olivedrab"),
    "n03590841": ("face", "darkorange", "black"),
    "n03792972": ("triangle", "crimson", "lightsteelblue"),
    "n03888257": ("dome", "deeppink", "skyblue"),
    "n02690373": ("cross", "silver", "deepskyblue"),
    "n02906734": ("stick", "sienna", "beige"),
}
IMAGES_PER_CLASS, SUBJECTS = 12, 2
SIDES = {"train": range(8), "val": range(8, 10), "test": range(10, 12)}
CHANNELS, SIDE_PX = 128, 96
_SOURCES = 6
_SEED = 20200507


class Look(NamedTuple):
    """How one picture shows its thing: what the picture and the recording share."""

    x: float
    y: float
    """of the middle, −1..1"""
    size: float
    """0..1"""
    turn: float
    """radians"""


class Paint(NamedTuple):
    """Where and in which colours a shape is drawn, in pixels."""

    centre: tuple[float, float]
    radius: float
    turn: float
    """radians"""
    colour: str
    background: str

    def around(self, count: int, share: float) -> list[tuple[float, float]]:
        """`count` places evenly on the circle of `share` of the radius."""
        angles = self.turn + math.tau * np.arange(count) / count
        x = self.centre[0] + share * self.radius * np.cos(angles)
        y = self.centre[1] + share * self.radius * np.sin(angles)
        return list(zip(x.tolist(), y.tolist(), strict=True))


def write(folder: Path) -> None:
    """240 recordings, 120 pictures and a list of splits: 30 MB, the same bytes every time."""
    random = np.random.default_rng(_SEED)
    scalps = random.standard_normal((len(CLASSES), CHANNELS, _SOURCES))
    people = random.standard_normal((SUBJECTS, CHANNELS, CHANNELS)) / math.sqrt(CHANNELS)
    images: list[str] = []
    dataset: list[dict[str, object]] = []
    sides: dict[str, list[int]] = {side: [] for side in SIDES}
    for label, synset in enumerate(CLASSES):
        pictures = folder / "imageNet_images" / synset
        pictures.mkdir(parents=True)
        for number in range(IMAGES_PER_CLASS):
            look = Look(*random.uniform((-1, -1, 0, 0), (1, 1, 1, math.tau)))
            stem = f"{synset}_{number}"
            draw(synset, look).save(pictures / f"{stem}.JPEG")
            for subject in range(SUBJECTS):
                scalp = scalps[label] + 0.5 * people[subject] @ scalps[label]
                place = {"image": len(images), "label": label, "subject": subject + 1}
                sides[_side(number)].append(len(dataset))
                dataset.append({"eeg": _recorded(scalp, label, look, random), **place})
            images.append(stem)
    recordings = {"dataset": dataset, "labels": list(CLASSES), "images": images}
    torch.save(recordings, folder / "eeg_5_95_std.pth")
    torch.save({"splits": [sides]}, folder / "block_splits_by_image_all.pth")


def _side(number: int) -> str:
    return next(side for side, numbers in SIDES.items() if number in numbers)


def _recorded(scalp: np.ndarray, label: int, look: Look, random: np.random.Generator) -> Tensor:
    """Half precision halves the file; the published one is float32."""
    eeg = 0.1 * scalp @ waves(label, look, random)
    noisy = eeg + 0.15 * random.standard_normal(eeg.shape)
    return torch.from_numpy(noisy.astype(np.float16))


def waves(label: int, look: Look, random: np.random.Generator) -> np.ndarray:
    """What the sources of a scalp do after a picture appears, [sources, 460..500 samples]."""
    seconds = np.arange(random.integers(460, 501))[None, :] / 1000
    number = np.arange(_SOURCES)[:, None]
    onset_s = 0.12 + 0.03 * number + 0.02 * look.x
    rise = np.exp(-(((seconds - onset_s) / (0.05 + 0.02 * look.size)) ** 2))
    rate_hz = 6 + 2 * ((label + 3 * number) % 10) + 2 * look.y
    return (0.6 + look.size) * rise * np.sin(math.tau * rate_hz * seconds + look.turn)


def draw(synset: str, look: Look) -> Image.Image:
    """One thing on its background, drawn four times as large for smooth edges."""
    shape, colour, background = CLASSES[synset]
    side = 4 * SIDE_PX
    canvas = Image.new("RGB", (side, side), background)
    centre = (side * (0.5 + 0.12 * look.x), side * (0.5 + 0.12 * look.y))
    paint = Paint(centre, side * (0.22 + 0.18 * look.size), look.turn, colour, background)
    _SHAPES[shape](ImageDraw.Draw(canvas), paint)
    return canvas.resize((SIDE_PX, SIDE_PX), Image.Resampling.LANCZOS)


def _disc(pen: ImageDraw.ImageDraw, paint: Paint) -> None:
    pen.circle(paint.centre, paint.radius, fill=paint.colour)


def _crescent(pen: ImageDraw.ImageDraw, paint: Paint) -> None:
    _disc(pen, paint)
    bite = paint.around(1, 0.6)[0]
    pen.circle(bite, paint.radius, fill=paint.background)


def _dotted(pen: ImageDraw.ImageDraw, paint: Paint) -> None:
    _disc(pen, paint)
    for place in paint.around(6, 0.6):
        pen.circle(place, paint.radius / 6, fill="firebrick")


def _box(pen: ImageDraw.ImageDraw, paint: Paint) -> None:
    pen.polygon(paint.around(4, 1.1), fill=paint.colour, outline="saddlebrown", width=16)


def _flower(pen: ImageDraw.ImageDraw, paint: Paint) -> None:
    for place in paint.around(9, 0.7):
        pen.circle(place, paint.radius / 4, fill=paint.colour)
    pen.circle(paint.centre, paint.radius / 2.5, fill="gold")


def _face(pen: ImageDraw.ImageDraw, paint: Paint) -> None:
    _disc(pen, paint)
    for place in paint.around(3, 0.45):
        pen.regular_polygon((*place, paint.radius / 4), 3, fill=paint.background)


def _triangle(pen: ImageDraw.ImageDraw, paint: Paint) -> None:
    pen.polygon(paint.around(3, 1.1), fill=paint.colour)


def _dome(pen: ImageDraw.ImageDraw, paint: Paint) -> None:
    half = paint.around(24, 1.0)[:13]
    pen.polygon(half, fill=paint.colour)
    for place in half[::4]:
        below = (paint.centre[0], paint.centre[1] + 1.2 * paint.radius)
        pen.line([place, below], fill="black", width=4)


def _cross(pen: ImageDraw.ImageDraw, paint: Paint) -> None:
    ends = paint.around(4, 1.1)
    width = round(paint.radius / 3)
    pen.line([ends[0], ends[2]], fill=paint.colour, width=width)
    pen.line([ends[1], ends[3]], fill=paint.colour, width=width)


def _stick(pen: ImageDraw.ImageDraw, paint: Paint) -> None:
    top, bottom = paint.around(2, 1.1)
    pen.line([top, bottom], fill=paint.colour, width=round(paint.radius / 6))
    pen.circle(bottom, paint.radius / 2.5, fill="goldenrod")


_SHAPES: dict[str, Callable[[ImageDraw.ImageDraw, Paint], None]] = {
    "disc": _disc,
    "crescent": _crescent,
    "dotted": _dotted,
    "box": _box,
    "flower": _flower,
    "face": _face,
    "triangle": _triangle,
    "dome": _dome,
    "cross": _cross,
    "stick": _stick,
}
