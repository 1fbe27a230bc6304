"""Touch and Go: its two lists, touches as groups, and the made-up materials."""

from collections import Counter
from dataclasses import asdict
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipelines.source.datasets.touch_and_go import MATERIALS, TouchAndGo
from pipelines.source.made_up import touch_and_go as made_up_touches
from pipelines.source.made_up.touch_and_go import SURFACES, TOUCHES
from vitlens_core.errors import ConfigError, InputError
from vitlens_core.modalities import tactile

BRICKS, WOOD = "20220410_033937", "20220601_182052"
TRAIN = f"{WOOD}/0000033834.jpg,3\n{BRICKS}/0000000026.jpg,5\n{WOOD}/0000033833.jpg,3"
TEST = f"{WOOD}/0000031434.jpg,4\n{BRICKS}/0000000100.jpg,-1\n"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "pretrain.txt").write_text(TRAIN)
    (tmp_path / "test.txt").write_text(TEST)
    for kind, colour in (("gelsight_frame", (90, 120, 150)), ("video_frame", (200, 80, 40))):
        folder = tmp_path / "dataset" / BRICKS / kind
        folder.mkdir(parents=True)
        Image.new("RGB", (64, 48), colour).save(folder / "0000000026.jpg")
    return tmp_path


def source(root: Path) -> TouchAndGo:
    return TouchAndGo(root=str(root))


def test_a_pair_is_a_gel_picture_and_its_video_frame(root: Path) -> None:
    first = next(iter(source(root).pairs()))
    assert asdict(first) == {
        "key": f"{BRICKS}-0000000026",
        "signal": f"dataset/{BRICKS}/gelsight_frame/0000000026.jpg",
        "reader_options": {},
        "images": (f"dataset/{BRICKS}/video_frame/0000000026.jpg",),
        "texts": (),
        "teachers": {},
        "label": "brick",
        "split": "train",
        "group": f"{BRICKS}-0000000026",
        "name": f"{BRICKS}, frame 26",
        "licence": None,
        "creator": None,
    }


def test_labels_and_sides_are_those_of_the_lists(root: Path) -> None:
    found = [(pair.key, pair.label, pair.split) for pair in source(root).pairs()]
    assert found == [
        (f"{BRICKS}-0000000026", "brick", "train"),
        (f"{BRICKS}-0000000100", None, "test"),
        (f"{WOOD}-0000031434", "metal", "test"),
        (f"{WOOD}-0000033833", "wood", "train"),
        (f"{WOOD}-0000033834", "wood", "train"),
    ]
    assert len(set(MATERIALS)) == 20


def test_the_order_of_the_lists_does_not_matter(root: Path) -> None:
    before = list(source(root).pairs())
    (root / "pretrain.txt").write_text("\r\n".join(reversed(TRAIN.splitlines())) + "\r\n")
    assert list(source(root).pairs()) == before


def test_frames_less_than_10_apart_are_one_touch(root: Path) -> None:
    frames = (5, 14, 23, 33, 34)
    (root / "pretrain.txt").write_text("\n".join(f"{WOOD}/{n:010d}.jpg,3" for n in frames))
    groups = [pair.group for pair in source(root).pairs() if pair.split == "train"]
    assert groups == [f"{WOOD}-0000000005"] * 3 + [f"{WOOD}-0000000033"] * 2


def test_another_video_is_another_touch(root: Path) -> None:
    (root / "pretrain.txt").write_text(f"{BRICKS}/0000000007.jpg,5\n{WOOD}/0000000008.jpg,5")
    groups = {pair.group for pair in source(root).pairs() if pair.split == "train"}
    assert groups == {f"{BRICKS}-0000000007", f"{WOOD}-0000000008"}


def test_pictures_are_read_by_the_modality(root: Path) -> None:
    pair = next(iter(source(root).pairs()))
    raw = source(root).read(pair, tactile.MODALITY)
    assert raw.shape == (48, 64, 3)
    stored = tactile.TactileSignal(side_px=32).store(raw)
    assert stored.shape == (32, 32, 3)
    np.testing.assert_allclose(stored.mean((0, 1)), (90, 120, 150), atol=3)
    (image,) = source(root).images(pair)
    np.testing.assert_allclose(image.mean((0, 1)), (200, 80, 40), atol=3)


def test_a_frame_that_was_never_extracted_is_an_input_error(root: Path) -> None:
    pair = list(source(root).pairs())[1]
    with pytest.raises(InputError, match="found nothing"):
        source(root).read(pair, tactile.MODALITY)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("pretrain.txt", "", "pretrain.txt is empty"),
        ("pretrain.txt", "frame,label", "pretrain.txt:1: found 'frame,label'"),
        ("pretrain.txt", f"{WOOD}/0000000001.jpg,3\n\n", "pretrain.txt:2: found ''"),
        ("test.txt", f"{WOOD}/1.jpg,3", r"test.txt:1: .*expected YYYYMMDD_HHMMSS/NNNNNNNNNN"),
        ("test.txt", f"{WOOD}/0000000001.jpg,wood", "test.txt:1"),
        ("test.txt", f"{WOOD}/0000000001.jpg,20", r"found material 20; expected -1..19"),
        ("test.txt", f"{WOOD}/0000000001.jpg,-2", r"found material -2; expected -1..19"),
        (
            "test.txt",
            f"{WOOD}/0000000001.jpg,3\n{WOOD}/0000000001.jpg,3",
            r"test.txt:2: .*is already in .*test.txt:1",
        ),
        (
            "test.txt",
            f"{WOOD}/0000033833.jpg,3",
            r"test.txt:1: .*is already in .*pretrain.txt:3; .*in one split",
        ),
    ],
)
def test_mistakes_are_refused(root: Path, name: str, content: str, message: str) -> None:
    (root / name).write_text(content)
    with pytest.raises(ConfigError, match=message):
        list(source(root).pairs())


def test_a_missing_list_says_where_it_is_published(root: Path) -> None:
    (root / "test.txt").unlink()
    with pytest.raises(ConfigError, match=r"test list at .*; copy it from https://github\.com"):
        list(source(root).pairs())


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The made-up set with two touches of each material on a side, to save time."""
    folder = tmp_path_factory.mktemp("touch")
    made_up_touches.write(folder, {"train": 2, "test": 2})
    return folder


def test_the_made_up_set_is_of_this_layout(made: Path) -> None:
    pairs = list(source(made).pairs())
    counts = Counter((pair.split, pair.label) for pair in pairs)
    assert counts == {(side, name): 6 for side in TOUCHES for name in SURFACES}
    assert len({pair.group for pair in pairs}) == 40
    for pair in pairs[:5]:
        assert source(made).read(pair, tactile.MODALITY).shape == (120, 160, 3)
        assert source(made).images(pair)[0].shape == (120, 160, 3)


def test_the_made_up_set_is_the_same_every_time(made: Path, tmp_path: Path) -> None:
    made_up_touches.write(tmp_path, {"train": 1, "test": 0})
    written = [path for path in tmp_path.rglob("*.jpg") if path.is_file()]
    assert len(written) == 60
    for path in written:
        assert path.read_bytes() == (made / path.relative_to(tmp_path)).read_bytes()


@pytest.mark.parametrize("look", ["gel", "frame"])
def test_made_up_materials_are_told_apart_in_both_pictures(made: Path, look: str) -> None:
    """Nearest class by the energy of the picture at each fineness; chance is 0.1."""
    set_ = source(made)
    pairs = list(set_.pairs())
    pictures = [
        set_.read(p, tactile.MODALITY) if look == "gel" else set_.images(p)[0] for p in pairs
    ]
    looks = np.stack([_fineness(picture) for picture in pictures])
    train = np.array([pair.split == "train" for pair in pairs])
    labels = np.array([pair.label for pair in pairs])
    centres = np.stack([looks[train & (labels == name)].mean(0) for name in SURFACES])
    distances = np.linalg.norm(looks[~train, None] - centres, axis=2)
    right = np.array(list(SURFACES))[distances.argmin(1)] == labels[~train]
    assert right.mean() > 0.5


def _fineness(picture: np.ndarray) -> np.ndarray:
    grey = picture.mean(axis=2)
    power = np.abs(np.fft.fft2(grey - grey.mean()))
    waves = np.hypot(np.fft.fftfreq(grey.shape[0])[:, None], np.fft.fftfreq(grey.shape[1]))
    bands = pairwise(np.linspace(0, 0.5, 13))
    return np.log([power[(waves >= low) & (waves < high)].mean() for low, high in bands])
