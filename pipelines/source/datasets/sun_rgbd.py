"""SUN RGB-D: rooms seen by four depth cameras; `nyu_depth` uses the helpers here.

Reads     the scene folders, and the official split of the toolbox that is published with them.
Promises  one camera per scene: focal length from its own intrinsics, baseline by its kind.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np

from pipelines.source.base import Pair, SourceSettings
from pipelines.store.keys import plain_key
from pipelines.store.splits import Split
from vitlens_core import caps
from vitlens_core.confinement import resolve_inside
from vitlens_core.errors import ConfigError
from vitlens_core.modalities.depth import BASELINES_M
from vitlens_core.readers.files import optional

DATA = "SUNRGBD"
SPLIT_FILE = "SUNRGBDtoolbox/traintestSUNRGBD/allsplit.mat"
CLASSES = (
    "bathroom",
    "bedroom",
    "classroom",
    "computer room",
    "conference room",
    "corridor",
    "dining area",
    "dining room",
    "discussion area",
    "furniture store",
    "home office",
    "kitchen",
    "lab",
    "lecture theatre",
    "library",
    "living room",
    "office",
    "rest space",
    "study space",
)
_SIDES: dict[str, Split] = {"alltrain": "train", "alltest": "test"}
_FETCH = (
    "unpack SUNRGBD.zip and SUNRGBDtoolbox.zip (https://rgbd.cs.princeton.edu/data/) side by side "
    "in source.root"
)


class SunRgbd(SourceSettings):
    """SUN RGB-D: depth and pictures of 19 kinds of room.

    Layout, as the two archives unpack side by side:

        SUNRGBD/{kv1,kv2,realsense,xtion}/…/<scene>/image/*.jpg      one picture
                                                    depth_bfx/*.png  its depth, holes filled
                                                    intrinsics.txt   camera matrix, 3×3
                                                    scene.txt        kind of room
        SUNRGBDtoolbox/traintestSUNRGBD/allsplit.mat                 alltrain, alltest

    Protocol: the 19 kinds with more than 80 pictures (4,845 for training, 4,659 for the test of
    10,335); scenes of other kinds are left out. Pictures of one SUN3D walk form a group. The
    published ViT-Lens-L was trained on depth whose bits were *not* rotated back: its 52.2 % is
    not a figure for these disparities. NYU Depth V2 is part of it, on the same sides.

    Licence: none was found stated with the data; its authors ask to be cited, as do those of
    the three sets it includes (NYU Depth V2, Berkeley B3DO, SUN3D).
    Source: Song, Lichtenberg and Xiao, CVPR 2015; ViT-Lens (arXiv 2311.16081) §4.1.
    """

    modalities: ClassVar[tuple[str, ...]] = ("depth",)
    kind: Literal["sun_rgbd"] = "sun_rgbd"

    def pairs(self) -> Iterator[Pair]:
        folder = self.folder()
        for scene, side in official_sides(folder).items():
            label = room_kind(folder, scene)
            if label in CLASSES:
                yield scene_pair(folder, scene, side, label)


def official_sides(folder: Path) -> dict[str, Split]:
    """Return the official split of every scene, sorted: `kv1/NYUdata/NYU0001` → "test".

    Raises:
        ConfigError: the split file is missing or not the toolbox's, or lists a scene twice.
    """
    path = folder / SPLIT_FILE
    if not path.is_file():
        raise ConfigError(f"expected the official split at {path}, found no file; {_FETCH}")
    sides: dict[str, Split] = {}
    for variable, side in _SIDES.items():
        for entry in _cells(path, variable):
            scene = _scene_of(entry, path, variable)
            if scene in sides:
                raise ConfigError(
                    f"{path}: {variable} lists {scene}, which is already in the split "
                    f"{sides[scene]!r}; expected every scene once"
                )
            sides[scene] = side
    return dict(sorted(sides.items()))


def room_kind(folder: Path, scene: str) -> str:
    """Read the kind of room from scene.txt, in words: "living room" (`ConfigError`)."""
    label = _annotation(folder, scene, "scene.txt").strip()
    if not label:
        raise ConfigError(f"{folder / DATA / scene}/scene.txt is empty; expected a kind of room")
    return label.replace("_", " ").lower()


def scene_pair(folder: Path, scene: str, side: Split, label: str) -> Pair:
    """The pair of one scene folder. Raises ConfigError."""
    return Pair(
        key=plain_key(scene),
        signal=_only_file(folder, scene, "depth_bfx", "*.png"),
        reader_options={
            "unit": "sun_rgbd",
            "focal_px": _focal_px(folder, scene),
            "baseline_m": BASELINES_M[scene.split("/")[0]],
        },
        images=(_only_file(folder, scene, "image", "*.jpg"),),
        label=label,
        split=side,
        group=scene.rpartition("/")[0] if "/sun3ddata/" in scene else scene,
        name=scene,
    )


def _cells(path: Path, variable: str) -> list[str]:
    """The strings of one cell array of a MATLAB file."""
    matlab = optional("scipy.io.matlab", extra="datasets")
    try:
        content = matlab.loadmat(path, squeeze_me=True)
    except (matlab.MatReadError, NotImplementedError, ValueError, TypeError, OSError) as error:
        raise ConfigError(f"{path} cannot be read as a MATLAB 5 file: {error}. {_FETCH}") from error
    if variable not in content:
        variables = ", ".join(name for name in content if not name.startswith("__"))
        raise ConfigError(f"{path}: expected a variable {variable}, found {variables or 'none'}")
    cells = [str(cell) for cell in np.atleast_1d(content[variable])]
    if not cells:
        raise ConfigError(f"{path}: expected paths of scenes in {variable}, found none")
    return cells


def _scene_of(entry: str, path: Path, variable: str) -> str:
    """Return the entry without the folder on its authors' machine and without doubled slashes."""
    parts = [part for part in entry.split("/") if part]
    scene = parts[parts.index(DATA) + 1 :] if DATA in parts else []
    if not scene or scene[0] not in BASELINES_M:
        raise ConfigError(
            f"{path}: {variable} lists {entry!r}; expected …/{DATA}/<camera>/…/<scene> with a "
            f"camera of {', '.join(BASELINES_M)}"
        )
    return "/".join(scene)


def _annotation(folder: Path, scene: str, name: str) -> str:
    path = resolve_inside(folder, f"{DATA}/{scene}/{name}")
    if not path.is_file():
        raise ConfigError(
            f"the official split names {scene}, but {path} does not exist: {_FETCH}, whole"
        )
    return caps.read_text(path, caps.TEXT_BYTES, "a short text")


def _focal_px(folder: Path, scene: str) -> float:
    """Read the focal length, the first number of the camera matrix, in one line or three."""
    text = _annotation(folder, scene, "intrinsics.txt")
    try:
        numbers = [float(number) for number in text.split()]
    except ValueError:
        numbers = []
    if len(numbers) != 9 or not numbers[0] > 0:
        raise ConfigError(
            f"{folder / DATA / scene}/intrinsics.txt holds {text.strip()[:60]!r}; expected the 9 "
            "numbers of a camera matrix, a focal length above 0 first"
        )
    return numbers[0]


def _only_file(folder: Path, scene: str, kind: str, pattern: str) -> str:
    """Return the path of the only file in a scene's subfolder.

    It is found by listing, as the names of depth and picture sometimes differ.
    """
    of_kind = resolve_inside(folder, f"{DATA}/{scene}/{kind}")
    files = sorted(path.name for path in of_kind.glob(pattern))
    if len(files) != 1:
        raise ConfigError(
            f"{folder / DATA / scene}/{kind} has {len(files)} files {pattern}; expected one"
        )
    return f"{DATA}/{scene}/{kind}/{files[0]}"
