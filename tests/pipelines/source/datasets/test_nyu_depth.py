"""NYU Depth V2 within SUN RGB-D: ten classes, official sides."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from pipelines.source.datasets.nyu_depth import CLASSES, NyuDepth
from pipelines.source.datasets.sun_rgbd import SPLIT_FILE
from vitlens_core.errors import ConfigError
from vitlens_core.modalities import depth

ROOMS = {
    "NYU0001": ("kitchen", "test"),
    "NYU0003": ("office", "train"),
    "NYU0153": ("living_room", "test"),
    "NYU0644": ("study", "test"),
    "NYU0900": ("office_kitchen", "train"),
}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name, (room, _) in ROOMS.items():
        folder = tmp_path / "SUNRGBD/kv1/NYUdata" / name
        for kind in ("image", "depth_bfx"):
            (folder / kind).mkdir(parents=True)
        metres = np.full((32, 40), 4000, np.uint16)
        Image.fromarray(metres << 3).save(folder / "depth_bfx" / f"{name}.png")
        Image.new("RGB", (40, 32)).save(folder / "image" / f"{name}.jpg")
        (folder / "intrinsics.txt").write_text("518.857901 0 284.58 0 519.4 208.7 0 0 1")
        (folder / "scene.txt").write_text(room)
    write_split(tmp_path, {f"kv1/NYUdata/{name}": side for name, (_, side) in ROOMS.items()})
    return tmp_path


def write_split(root: Path, sides: dict[str, str]) -> None:
    """The scenes in reverse, among others of SUN RGB-D whose folders are not there."""
    sides = {"kv2/kinect2data/a": "train", "xtion/sun3ddata/b/c/d": "test", **sides}
    cells = {
        f"all{side}": np.array(
            [[f"/n/fs/sun3d/data/SUNRGBD/{s}" for s in reversed(sides) if sides[s] == side]],
            dtype=object,
        )
        for side in ("train", "test")
    }
    (root / SPLIT_FILE).parent.mkdir(parents=True, exist_ok=True)
    savemat(root / SPLIT_FILE, cells)


def test_rooms_become_ten_classes_on_the_official_sides(root: Path) -> None:
    found = [(p.key, p.label, p.name, p.split) for p in NyuDepth(root=str(root)).pairs()]
    assert found == [
        ("kv1-NYUdata-NYU0001", "kitchen", "kitchen", "test"),
        ("kv1-NYUdata-NYU0003", "office", "office", "train"),
        ("kv1-NYUdata-NYU0153", "living room", "living room", "test"),
        ("kv1-NYUdata-NYU0644", "others", "study", "test"),
        ("kv1-NYUdata-NYU0900", "others", "office kitchen", "train"),
    ]
    assert len({*CLASSES, "others"}) == 10


def test_a_pair_reads_its_disparity_and_its_picture(root: Path) -> None:
    source = NyuDepth(root=str(root))
    pair = next(iter(source.pairs()))
    folder = "SUNRGBD/kv1/NYUdata/NYU0001"
    assert pair.signal == f"{folder}/depth_bfx/NYU0001.png"
    assert pair.images == (f"{folder}/image/NYU0001.jpg",)
    assert pair.reader_options == {"unit": "sun_rgbd", "focal_px": 518.857901, "baseline_m": 0.075}
    stored = depth.DepthSignal(side_px=28).store(source.read(pair, depth.MODALITY))
    np.testing.assert_allclose(stored, 0.075 * 518.857901 / 4, rtol=1e-5)
    assert source.images(pair)[0].shape == (32, 40, 3)


def test_a_split_without_nyu_is_refused(root: Path) -> None:
    write_split(root, {})
    with pytest.raises(ConfigError, match="lists 2 scenes, none of them in kv1/NYUdata"):
        list(NyuDepth(root=str(root)).pairs())


def test_a_scene_that_is_not_there_is_refused(root: Path) -> None:
    write_split(root, {"kv1/NYUdata/NYU0002": "train"})
    with pytest.raises(ConfigError, match="names kv1/NYUdata/NYU0002"):
        list(NyuDepth(root=str(root)).pairs())
