"""ImageNet-EEG: torch's files opened safely and once, the published splits and filter."""

from __future__ import annotations

import copy
import hashlib
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from pipelines.source.base import Pair
from pipelines.source.datasets.imagenet_eeg import WORDS, ImagenetEeg
from pipelines.source.made_up.imagenet_eeg import write as generate
from vitlens_core.errors import ConfigError, InputError
from vitlens_core.modalities import eeg

DAISY, BANANA = "n11939491", "n07753592"
IMAGES = [f"{DAISY}_10", f"{BANANA}_7", f"{DAISY}_11"]
LENGTHS = [449, 450, 500, 600, 601, 512]


def content() -> dict[str, Any]:
    """Six recordings of three pictures by two people; recording i is full of i, but for noise."""
    random = torch.Generator().manual_seed(0)
    dataset = [
        {
            "eeg": number + 0.01 * torch.randn(128, samples, generator=random),
            "image": number // 2,
            "label": [1, 0, 1][number // 2],
            "subject": 1 + 3 * (number % 2),
        }
        for number, samples in enumerate(LENGTHS)
    ]
    return {"dataset": dataset, "labels": [BANANA, DAISY], "images": list(IMAGES)}


SPLITS = {"splits": [{"train": [0, 1, 5], "val": [2], "test": [3]}] * 6}
SINGLE = {"splits": [{"train": [0, 1], "val": [], "test": [2]}]}


def write(folder: Path, recordings: Any = None, splits: Any = None, **saving: Any) -> Path:
    torch.save(
        content() if recordings is None else recordings, folder / "eeg_5_95_std.pth", **saving
    )
    torch.save(SPLITS if splits is None else splits, folder / "block_splits_by_image_all.pth")
    torch.save(SINGLE, folder / "block_splits_by_image_single.pth")
    for stem in IMAGES:
        path = folder / "imageNet_images" / stem.split("_")[0] / f"{stem}.JPEG"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 6), "red").save(path)
    return folder


def test_recordings_of_450_to_600_samples_are_taken_on_their_side(tmp_path: Path) -> None:
    pairs = list(ImagenetEeg(root=str(write(tmp_path))).pairs())
    # 0 is too short; 4 is too long and in no split.
    assert [(pair.key, pair.split, pair.label) for pair in pairs] == [
        ("recording-00001", "train", "daisy"),
        ("recording-00002", "val", "banana"),
        ("recording-00003", "test", "banana"),
        ("recording-00005", "train", "daisy"),
    ]
    assert pairs[0] == Pair(
        key="recording-00001",
        signal="eeg_5_95_std.pth",
        reader_options={"recording": 1},
        images=(f"imageNet_images/{DAISY}/{DAISY}_10.JPEG",),
        label="daisy",
        split="train",
        group=f"{DAISY}_10",
        name=f"{DAISY}_10, subject 4",
        licence=pairs[0].licence,
        creator=pairs[0].creator,
    )


def test_one_person_has_a_split_of_their_own(tmp_path: Path) -> None:
    pairs = list(ImagenetEeg(root=str(write(tmp_path)), subject=4).pairs())
    # Their recordings are 1, 3 and 5 of the file: 0, 1 and 2 among their own.
    assert [(pair.reader_options["recording"], pair.split) for pair in pairs] == [
        (1, "train"),
        (3, "train"),
        (5, "test"),
    ]


@pytest.mark.parametrize("zipped", [True, False])
def test_a_recording_is_read_from_either_format(tmp_path: Path, zipped: bool) -> None:
    folder = write(tmp_path, _use_new_zipfile_serialization=zipped)
    source = ImagenetEeg(root=str(folder))
    pair = next(p for p in source.pairs() if p.key == "recording-00003")
    raw = source.read(pair, eeg.MODALITY)
    assert raw.shape == (128, 600)
    assert raw.dtype == np.float32
    np.testing.assert_allclose(raw.mean(), 3, atol=0.01)
    assert eeg.EegSignal().store(raw).shape == (128, 440)
    (image,) = source.images(pair)
    assert image.shape == (6, 8, 3)


def test_the_file_is_opened_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: Counter[str] = Counter()
    load = torch.load

    def counted(path: Path, **given: Any) -> Any:
        opened[path.name] += 1
        assert given["weights_only"]
        return load(path, **given)

    monkeypatch.setattr(torch, "load", counted)
    source = ImagenetEeg(root=str(write(tmp_path)))
    for pair in source.pairs():
        source.read(pair, eeg.MODALITY)
    assert opened == {"eeg_5_95_std.pth": 1, "block_splits_by_image_all.pth": 1}


def test_a_pair_of_another_file_is_refused(tmp_path: Path) -> None:
    source = ImagenetEeg(root=str(write(tmp_path)))
    with pytest.raises(InputError, match=r"recording 6 in eeg_5_95_std\.pth, found 6 recordings"):
        source.read(Pair("k", "eeg_5_95_std.pth", {"recording": 6}), eeg.MODALITY)


def test_objects_are_not_unpickled(tmp_path: Path) -> None:
    write(tmp_path, content() | {"means": Path("anything but numbers")})
    with pytest.raises(ConfigError, match="cannot be read as torch's tensors"):
        list(ImagenetEeg(root=str(tmp_path)).pairs())


def _entry(**changed: Any) -> Callable[[dict[str, Any]], object]:
    return lambda c: c["dataset"][2].update(changed)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda c: c.pop("images"), r"eeg_5_95_std\.pth: expected images, found"),
        (lambda c: c.update(labels=[BANANA, "n01440764"]), r"labels \['n01440764'\] are none"),
        (
            _entry(label=0, image=0),
            rf"recording 2: its label is {BANANA}, but its image is {DAISY}",
        ),
        (_entry(label=2), r"recording 2: expected label 0\.\.1 and image 0\.\.2, found 2 and 1"),
        (_entry(image=-1), r"recording 2: expected label .* found 0 and -1"),
        (_entry(eeg=torch.zeros(3)), r"recording 2: expected a tensor \[128, time\]"),
        (_entry(eeg=[[0.0]]), r"recording 2: expected a tensor"),
        (lambda c: c["dataset"][2].pop("subject"), "recording 2: expected eeg, image, label and"),
        (lambda c: c["dataset"].__setitem__(2, 5), "recording 2: expected eeg, image, label and"),
    ],
)
def test_recordings_that_contradict_the_lists_are_refused(
    tmp_path: Path, spoil: Callable[[dict[str, Any]], object], message: str
) -> None:
    recordings = content()
    spoil(recordings)
    write(tmp_path, recordings)
    with pytest.raises(ConfigError, match=message):
        list(ImagenetEeg(root=str(tmp_path)).pairs())


@pytest.mark.parametrize(
    ("split", "message"),
    [
        ({"val": [0]}, "split 0: recording 0 is in train and val"),
        ({"train": [0, 0]}, "split 0: recording 0 is in train and train"),
        ({"test": [6]}, "test: there is no recording 6; found 6, counted from 0"),
        ({"test": [-1]}, "there is no recording -1"),
    ],
)
def test_splits_that_contradict_the_recordings_are_refused(
    tmp_path: Path, split: dict[str, list[int]], message: str
) -> None:
    splits = copy.deepcopy(SPLITS)
    splits["splits"][0] |= split
    write(tmp_path, splits=splits)
    with pytest.raises(ConfigError, match=message):
        list(ImagenetEeg(root=str(tmp_path)).pairs())


def test_other_files_of_splits_are_refused(tmp_path: Path) -> None:
    source = ImagenetEeg(root=str(tmp_path))
    with pytest.raises(ConfigError, match=r"no file .*eeg_5_95_std\.pth"):
        list(source.pairs())
    write(tmp_path, splits={"splits": [{"train": []}]})
    with pytest.raises(ConfigError, match=r"expected train, val and test, found \['train'\]"):
        list(source.pairs())
    with pytest.raises(ConfigError, match=r"source\.split: expected 0\.\.0 .* found 1"):
        list(ImagenetEeg(root=str(tmp_path), split=1).pairs())
    for wrong, message in (({}, 'a list "splits"'), ([1], "expected a dictionary, found list")):
        torch.save(wrong, tmp_path / "block_splits_by_image_all.pth")
        with pytest.raises(ConfigError, match=message):
            list(source.pairs())
    (tmp_path / "block_splits_by_image_all.pth").write_bytes(b"PK\x03\x04 not a zip")
    with pytest.raises(ConfigError, match="cannot be read as torch's"):
        list(source.pairs())


def test_there_are_forty_classes() -> None:
    assert len(WORDS) == len(set(WORDS.values())) == 40


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> ImagenetEeg:
    """The generated data set, as if it were anybody's."""
    folder = tmp_path_factory.mktemp("made")
    ImagenetEeg(root="generated").generate(folder)
    return ImagenetEeg(root=str(folder))


def _digest(folder: Path) -> str:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    content = b"".join(path.relative_to(folder).as_posix().encode() for path in files)
    return hashlib.sha256(content + b"".join(path.read_bytes() for path in files)).hexdigest()


def test_generated_files_are_the_same_every_time(made: ImagenetEeg, tmp_path: Path) -> None:
    generate(tmp_path)
    assert _digest(tmp_path) == _digest(made.folder())


def test_generated_recordings_are_whole(made: ImagenetEeg) -> None:
    pairs = list(made.pairs())
    assert Counter(pair.split for pair in pairs) == {"train": 160, "val": 40, "test": 40}
    assert len({pair.label for pair in pairs}) == 10
    sides = {(pair.group, pair.split) for pair in pairs}
    assert len(sides) == len({pair.group for pair in pairs}) == 120
    assert made.images(pairs[0])[0].shape == (96, 96, 3)


def _nearest_mean(features: np.ndarray, labels: np.ndarray, learnt: np.ndarray) -> float:
    """Share of the rest whose nearest class mean, made of `learnt`, is its own."""
    classes = np.unique(labels)
    means = np.stack([features[learnt & (labels == one)].mean(0) for one in classes])
    distances = ((features[~learnt, None] - means) ** 2).sum(-1)
    return float((classes[distances.argmin(1)] == labels[~learnt]).mean())


def test_generated_classes_can_be_told_apart_in_recordings_and_pictures(made: ImagenetEeg) -> None:
    pairs = list(made.pairs())
    labels = np.array([pair.label for pair in pairs])
    learnt = np.array([pair.split == "train" for pair in pairs])
    stored = [eeg.EegSignal().store(made.read(pair, eeg.MODALITY))[::4] for pair in pairs]
    shared = np.stack([np.cov(recording).ravel() for recording in stored])
    assert _nearest_mean(shared, labels, learnt) > 0.5  # chance is 0.1
    colours = np.stack([made.images(pair)[0].mean((0, 1)) for pair in pairs])
    assert _nearest_mean(colours, labels, learnt) > 0.5


def test_made_up_recordings_are_nobodys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VITLENS_HOME", str(tmp_path))
    folder = tmp_path / "generated" / "imagenet_eeg"
    folder.mkdir(parents=True)
    write(folder)
    source = ImagenetEeg(root="generated")
    assert source.generated
    assert {(pair.licence, pair.creator) for pair in source.pairs()} == {(None, None)}
