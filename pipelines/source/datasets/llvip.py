"""LLVIP: crops of people in dark streets, in infrared and in visible light."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal
from xml.etree import ElementTree

import numpy as np

from pipelines.source.base import Pair, SourceSettings
from pipelines.store.splits import Split
from vitlens_core.errors import ConfigError, InputError
from vitlens_core.modalities.base import Modality
from vitlens_core.readers.pictures import read_rgb

PERSON, BACKGROUND = "person", "background"
LICENCE = "LLVIP terms of use (non-commercial)"
SIDES: tuple[Split, ...] = ("train", "test")
_FRAME = re.compile(r"\d{6}")
_DRAWS = 100  # attempts to find a place without a person
_GREY_LEVELS = 8.0  # largest mean difference of the channels of a grey picture

Box = tuple[int, int, int, int]
"""Left, top, right, bottom in pixels; right and bottom are the first outside."""


class Llvip(SourceSettings):
    """LLVIP: crops with and without a person, each in infrared and in visible light.

    Layout:

        infrared/{train,test}/NNNNNN.jpg    12,025 and 3,463 frames of 1280×1024
        visible/{train,test}/NNNNNN.jpg     the same frames, aligned
        Annotations/NNNNNN.xml              Pascal VOC: size, and a bndbox for each person

    Protocol: ImageBind's binary classification. Every box of a person is a crop; for each, a box
    of the same size that touches no person is drawn in the same frame, seeded by its name.
    If 100 draws find no place, the frame is too crowded, and the person has no counterpart.
    The test frames hold 7,931 people; ImageBind's own draws were never published, so its 63.4 %
    is matched in kind, not crop by crop. Boxes without area (five as published) are left out,
    and frames without a person give no crop.
    Frames whose names start with the same two digits show one scene, which is the group.

    Licence: LLVIP's own terms, free for non-commercial use with a reference to it.
    Source: Jia et al., ICCV 2021 workshops (arXiv 2108.10831); ImageBind (arXiv 2305.05665)
    appendix A.
    """

    modalities: ClassVar[tuple[str, ...]] = ("thermal",)
    kind: Literal["llvip"] = "llvip"

    def pairs(self) -> Iterator[Pair]:
        folder = self.folder()
        sides = _sides(folder)
        for name, side in sides.items():
            frame = _read_frame(folder / "Annotations" / f"{name}.xml", name)
            for number, person in enumerate(frame.people):
                yield _pair(frame, side, PERSON, number, person)
                background = _background(frame, person, number)
                if background:
                    yield _pair(frame, side, BACKGROUND, number, background)

    def read(self, pair: Pair, modality: Modality) -> np.ndarray:
        """Brightness [H, W] in 0..1 of the crop. Raises InputError."""
        path = self.place(pair.signal)
        crop = _crop(read_rgb(path), pair, path).astype(np.float32)
        # The camera's pictures are grey, whether the file has one channel or three.
        if np.ptp(crop, axis=2).mean() > _GREY_LEVELS:
            raise InputError(f"expected a grey infrared picture, found colours in {path}")
        return crop.mean(axis=2) / 255

    def images(self, pair: Pair) -> list[np.ndarray]:
        """The same crop in visible light, uint8 RGB [H, W, 3]. Raises InputError."""
        path = self.place(pair.images[0])
        return [_crop(read_rgb(path), pair, path)]


@dataclass(frozen=True)
class _Frame:
    name: str
    width: int
    height: int
    people: tuple[Box, ...]


def _sides(folder: Path) -> dict[str, Split]:
    """Frames and their sides, sorted: in infrared, in visible light and annotated."""
    sides: dict[str, Split] = {}
    for side in SIDES:
        infrared, visible = (_names(folder / light / side) for light in ("infrared", "visible"))
        if infrared != visible:
            raise ConfigError(
                f"{folder}: expected the same frames in infrared/{side} and visible/{side}, found "
                f"{_some(infrared ^ visible)} in one of them only"
            )
        twice = infrared & sides.keys()
        if twice:
            raise ConfigError(f"{folder}: found {_some(twice)} in train and in test")
        sides |= dict.fromkeys(infrared, side)
    annotated = {path.stem for path in (folder / "Annotations").glob("*.xml")}
    if annotated != sides.keys():
        raise ConfigError(
            f"{folder}: expected one Annotations/NNNNNN.xml for each frame, found "
            f"{_some(annotated ^ sides.keys())} without its annotation or without its pictures"
        )
    return dict(sorted(sides.items()))


def _names(folder: Path) -> set[str]:
    names = {path.stem for path in folder.glob("*.jpg")}
    strange = {name for name in names if not _FRAME.fullmatch(name)}
    if strange or not names:
        found = _some(strange) if strange else "none"
        raise ConfigError(f"{folder}: expected frames NNNNNN.jpg, found {found}")
    return names


def _some(names: set[str]) -> str:
    shown = ", ".join(sorted(names)[:5])
    return f"{len(names)} ({shown}, …)" if len(names) > 5 else shown


def _read_frame(path: Path, name: str) -> _Frame:
    try:
        # Expat itself refuses entity bombs, and ElementTree fetches nothing external.
        root = ElementTree.parse(path).getroot()  # noqa: S314
    except ElementTree.ParseError as error:
        raise ConfigError(f"{path} cannot be read as XML: {error}") from error
    width, height = (_number(root, f"size/{side}", path) for side in ("width", "height"))
    if width < 1 or height < 1:
        raise ConfigError(f"{path}: found size {width}×{height}; expected that of the picture")
    boxes = [_person(item, width, height, path) for item in root.iter("object")]
    people = tuple(box for box in boxes if box[0] < box[2] and box[1] < box[3])
    return _Frame(name, width, height, people)


def _person(item: ElementTree.Element, width: int, height: int, path: Path) -> Box:
    """The box of one object, within the picture."""
    label = item.findtext("name", "").strip()
    if label != PERSON:
        raise ConfigError(f"{path}: found an object {label!r}; expected {PERSON!r} only")
    corners = ("xmin", "ymin", "xmax", "ymax")
    left, top, right, bottom = (_number(item, f"bndbox/{edge}", path) for edge in corners)
    return max(left, 0), max(top, 0), min(right, width), min(bottom, height)


def _number(node: ElementTree.Element, tag: str, path: Path) -> int:
    text = node.findtext(tag, "")
    try:
        return round(float(text))
    except (ValueError, OverflowError) as error:
        raise ConfigError(f"{path}: found {tag} {text!r}; expected a number of pixels") from error


def _background(frame: _Frame, person: Box, number: int) -> Box | None:
    """Draw a box of the person's size that touches nobody; None if the frame is too crowded."""
    width, height = person[2] - person[0], person[3] - person[1]
    seed = hashlib.sha256(f"{frame.name}-{number}".encode()).digest()[:8]
    draws = np.random.default_rng(int.from_bytes(seed, "big"))
    for _ in range(_DRAWS):
        left = int(draws.integers(frame.width - width + 1))
        top = int(draws.integers(frame.height - height + 1))
        box = (left, top, left + width, top + height)
        if not any(_overlap(box, other) for other in frame.people):
            return box
    return None


def _overlap(one: Box, other: Box) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def _pair(frame: _Frame, side: Split, label: str, number: int, box: Box) -> Pair:
    return Pair(
        key=f"{frame.name}-{label}-{number}",
        signal=f"infrared/{side}/{frame.name}.jpg",
        reader_options={"box": list(box)},
        images=(f"visible/{side}/{frame.name}.jpg",),
        label=label,
        split=side,
        group=f"scene-{frame.name[:2]}",
        name=f"{label} {number} of frame {frame.name}",
        licence=LICENCE,
    )


def _crop(picture: np.ndarray, pair: Pair, path: Path) -> np.ndarray:
    """[H, W, 3] → the pair's box of it. Raises InputError."""
    left, top, right, bottom = pair.reader_options["box"]
    height, width = picture.shape[:2]
    if right > width or bottom > height:
        raise InputError(
            f"{path} is {width}×{height}, but its annotation has a box up to {right}, {bottom}"
        )
    return picture[top:bottom, left:right]
