"""SUN RGB-D: a tiny tree as its two archives unpack, its split, and its disparities."""

import math
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from pipelines.source.datasets.sun_rgbd import CLASSES, SPLIT_FILE, SunRgbd
from pipelines.store.keys import plain_key
from vitlens_core.errors import ConfigError
from vitlens_core.modalities import depth

KV2 = "kv2/kinect2data/000002_2014-05-26_14-23-37_260595134347_rgbf000103-resize"
WALK = "xtion/sun3ddata/mit_32_g442/g442_1"
ON_AUTHORS_MACHINE = "/n/fs/sun3d/data/SUNRGBD"
ONE_LINE = "529.5 0 365 0 529.5 265 0 0 1"
MATLAB_7_3 = b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM" + bytes(512)
THREE_LINES = "570.3 0.0 320.0\n0.0 570.3 240.0\n0.0 0.0 1.0\n"


def add_scene(
    root: Path, scene: str, room: str, stem: str = "0000103", camera: str = ONE_LINE
) -> None:
    """One scene folder: a wall 2 m away, its left half not measured."""
    folder = root / "SUNRGBD" / scene
    for kind in ("image", "depth_bfx"):
        (folder / kind).mkdir(parents=True)
    depth_mm = np.full((48, 64), 2000, np.uint16)
    depth_mm[:, :32] = 0
    rotated = ((depth_mm << 3) | (depth_mm >> 13)).astype(np.uint16)
    Image.fromarray(rotated).save(folder / "depth_bfx" / f"{stem}-depth.png")
    Image.new("RGB", (64, 48), (200, 30, 40)).save(folder / "image" / f"{stem}.jpg")
    (folder / "intrinsics.txt").write_text(camera)
    (folder / "scene.txt").write_text(room)


def write_split(root: Path, train: list[str], test: list[str], **more: object) -> Path:
    """allsplit.mat: two cell arrays of paths as its authors had them."""
    path = root / SPLIT_FILE
    path.parent.mkdir(parents=True, exist_ok=True)
    cells = {
        name: np.array([[f"{ON_AUTHORS_MACHINE}/{scene}" for scene in scenes]], dtype=object)
        for name, scenes in (("alltrain", train), ("alltest", test))
    }
    savemat(path, cells | more)
    return path


@pytest.fixture
def root(tmp_path: Path) -> Path:
    add_scene(tmp_path, KV2, "furniture_store")
    add_scene(tmp_path, f"{WALK}/0001642-000055045362", "office", camera=THREE_LINES)
    add_scene(tmp_path, f"{WALK}/0002120-000071066010", "office\n", camera=THREE_LINES)
    add_scene(tmp_path, "kv1/NYUdata/NYU0117", "bookstore")  # not of the 19
    add_scene(tmp_path, "realsense/lg/2014_10_30-16_04_11-1311000073", "Conference_Room")
    write_split(
        tmp_path,
        ["realsense/lg//2014_10_30-16_04_11-1311000073/", KV2],
        [f"{WALK}/0002120-000071066010", "kv1/NYUdata/NYU0117", f"{WALK}/0001642-000055045362"],
    )
    return tmp_path


def source(root: Path) -> SunRgbd:
    return SunRgbd(root=str(root))


def test_the_benchmark_has_19_kinds_of_room() -> None:
    assert len(set(CLASSES)) == 19


def test_a_pair_is_a_scene_with_its_own_camera(root: Path) -> None:
    pairs = {pair.name: asdict(pair) for pair in source(root).pairs()}
    assert pairs[KV2] == {
        "key": plain_key(KV2),
        "signal": f"SUNRGBD/{KV2}/depth_bfx/0000103-depth.png",
        "reader_options": {"unit": "sun_rgbd", "focal_px": 529.5, "baseline_m": 0.075},
        "images": (f"SUNRGBD/{KV2}/image/0000103.jpg",),
        "texts": (),
        "teachers": {},
        "label": "furniture store",
        "split": "train",
        "group": KV2,
        "name": KV2,
        "licence": None,
        "creator": None,
    }
    walk = pairs[f"{WALK}/0001642-000055045362"]
    assert walk["reader_options"] == {"unit": "sun_rgbd", "focal_px": 570.3, "baseline_m": 0.095}


def test_sides_are_the_official_ones_and_other_rooms_are_left_out(root: Path) -> None:
    found = [(pair.name.split("/")[0], pair.label, pair.split) for pair in source(root).pairs()]
    assert found == [
        ("kv2", "furniture store", "train"),
        ("realsense", "conference room", "train"),
        ("xtion", "office", "test"),
        ("xtion", "office", "test"),
    ]


def test_the_pictures_of_one_walk_are_one_group(root: Path) -> None:
    groups = [pair.group for pair in source(root).pairs()]
    assert groups[2] == groups[3] == WALK
    assert len(set(groups)) == 3


def test_disparity_is_baseline_times_focal_over_depth(root: Path) -> None:
    pair = next(iter(source(root).pairs()))
    raw = source(root).read(pair, depth.MODALITY)
    assert raw.shape == (48, 64)
    assert (raw[:, :32] == 0).all()
    np.testing.assert_allclose(raw[:, 32:], 0.075 * 529.5 / 2, rtol=1e-6)
    stored = depth.DepthSignal(side_px=28).store(raw)
    assert stored.shape == (28, 28)
    assert math.isclose(stored.max(), 0.075 * 529.5 / 2, rel_tol=1e-5)


def test_the_image_is_the_picture_beside_the_depth(root: Path) -> None:
    pair = next(iter(source(root).pairs()))
    (image,) = source(root).images(pair)
    assert image.shape == (48, 64, 3)
    np.testing.assert_allclose(image.mean((0, 1)), (200, 30, 40), atol=3)


def test_the_order_of_the_split_file_does_not_matter(root: Path) -> None:
    before = list(source(root).pairs())
    write_split(
        root,
        [KV2, "realsense/lg/2014_10_30-16_04_11-1311000073"],
        [f"{WALK}/0001642-000055045362", f"{WALK}/0002120-000071066010", "kv1/NYUdata/NYU0117"],
    )
    assert list(source(root).pairs()) == before


MISTAKES: dict[str, tuple[Callable[[Path], object], str]] = {
    "no split file": (
        lambda root: (root / SPLIT_FILE).unlink(),
        "allsplit.mat, found no file; unpack SUNRGBD.zip",
    ),
    "no MATLAB file": (
        lambda root: (root / SPLIT_FILE).write_bytes(b"<html>not found</html>" * 20),
        "cannot be read as a MATLAB 5 file",
    ),
    "MATLAB 7.3": (
        lambda root: (root / SPLIT_FILE).write_bytes(MATLAB_7_3),
        "cannot be read as a MATLAB 5 file",
    ),
    "no alltest": (
        lambda root: savemat(root / SPLIT_FILE, {"alltrain": np.array([["/SUNRGBD/kv1/a"]])}),
        "expected a variable alltest, found alltrain",
    ),
    "an empty side": (
        lambda root: write_split(root, [], [KV2]),
        "expected paths of scenes in alltrain, found none",
    ),
    "a scene on two sides": (
        lambda root: write_split(root, [KV2], [KV2]),
        r"alltest lists kv2/.* already in the split 'train'",
    ),
    "an unknown camera": (
        lambda root: write_split(root, ["kv3/a"], [KV2]),
        r"'/n/fs/sun3d/data/SUNRGBD/kv3/a'; expected .*realsense",
    ),
    "a scene without a folder": (
        lambda root: write_split(root, ["kv1/NYUdata/NYU0001"], [KV2]),
        r"names kv1/NYUdata/NYU0001, but .*scene.txt does not exist",
    ),
    "no kind of room": (
        lambda root: (root / "SUNRGBD" / KV2 / "scene.txt").write_text("\n"),
        "scene.txt is empty",
    ),
    "an incomplete camera": (
        lambda root: (root / "SUNRGBD" / KV2 / "intrinsics.txt").write_text("529.5 0 365"),
        "holds '529.5 0 365'; expected the 9 numbers",
    ),
    "no camera matrix": (
        lambda root: (root / "SUNRGBD" / KV2 / "intrinsics.txt").write_text("f=1 0 0 0 0 0 0 0 1"),
        "expected the 9 numbers",
    ),
    "a focal length of 0": (
        lambda root: (root / "SUNRGBD" / KV2 / "intrinsics.txt").write_text("0 0 1 0 1 1 0 0 1"),
        "a focal length above 0",
    ),
    "no depth": (
        lambda root: (root / "SUNRGBD" / KV2 / "depth_bfx" / "0000103-depth.png").unlink(),
        r"depth_bfx has 0 files \*.png; expected one",
    ),
    "two pictures": (
        lambda root: (root / "SUNRGBD" / KV2 / "image" / "other.jpg").touch(),
        r"image has 2 files \*.jpg; expected one",
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes_are_refused(root: Path, mistake: str) -> None:
    damage, message = MISTAKES[mistake]
    damage(root)
    with pytest.raises(ConfigError, match=message):
        list(source(root).pairs())


def test_a_missing_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no folder"):
        list(source(tmp_path / "elsewhere").pairs())


def test_there_are_no_generated_scenes() -> None:
    with pytest.raises(ConfigError, match="no generated files for sun_rgbd"):
        SunRgbd(root="generated").generate(Path())
