"""LLVIP: crops of people and of background, in both lights, and the made-up streets."""

from collections import Counter
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from pipelines.source.datasets.llvip import Llvip, _background, _Frame
from pipelines.source.made_up import llvip as made_up_llvip
from vitlens_core.errors import ConfigError, InputError
from vitlens_core.modalities import thermal

WIDTH, HEIGHT = 80, 64
PERSON = (10, 8, 26, 48)


def annotation(*boxes: tuple[object, ...], name: str = "person", width: object = WIDTH) -> str:
    objects = "".join(
        f"<object><name>{name}</name><pose>Unspecified</pose><bndbox><xmin>{left}</xmin>"
        f"<ymin>{top}</ymin><xmax>{right}</xmax><ymax>{bottom}</ymax></bndbox></object>"
        for left, top, right, bottom in boxes
    )
    size = f"<size><width>{width}</width><height>{HEIGHT}</height><depth>3</depth></size>"
    return f"<annotation><filename>x.jpg</filename>{size}{objects}</annotation>"


def add_frame(root: Path, side: str, name: str, xml: str) -> None:
    """A frame whose person is warm in infrared and red in visible light."""
    infrared = np.full((HEIGHT, WIDTH), 51, np.uint8)
    visible = np.full((HEIGHT, WIDTH, 3), 40, np.uint8)
    left, top, right, bottom = PERSON
    infrared[top:bottom, left:right] = 204
    visible[top:bottom, left:right] = (200, 30, 30)
    for light, levels in (("infrared", infrared), ("visible", visible)):
        folder = root / light / side
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(levels).save(folder / f"{name}.jpg", quality=95)
    (root / "Annotations").mkdir(exist_ok=True)
    (root / "Annotations" / f"{name}.xml").write_text(xml)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    add_frame(tmp_path, "test", "190001", annotation(PERSON))
    add_frame(tmp_path, "train", "010002", annotation(PERSON, (40, 0, 40, 9), (60, 40, 90, 70)))
    add_frame(tmp_path, "train", "010001", annotation())
    return tmp_path


def source(root: Path) -> Llvip:
    return Llvip(root=str(root))


def test_a_pair_is_a_crop_of_a_frame_in_both_lights(root: Path) -> None:
    first = next(iter(source(root).pairs()))
    assert asdict(first) == {
        "key": "010002-person-0",
        "signal": "infrared/train/010002.jpg",
        "reader_options": {"box": [10, 8, 26, 48]},
        "images": ("visible/train/010002.jpg",),
        "texts": (),
        "teachers": {},
        "label": "person",
        "split": "train",
        "group": "scene-01",
        "name": "person 0 of frame 010002",
        "licence": "LLVIP terms of use (non-commercial)",
        "creator": None,
    }


def test_each_person_has_a_background_and_a_box_without_area_is_left_out(root: Path) -> None:
    found = [(pair.key, pair.split, pair.group) for pair in source(root).pairs()]
    assert found == [
        ("010002-person-0", "train", "scene-01"),
        ("010002-background-0", "train", "scene-01"),
        ("010002-person-1", "train", "scene-01"),
        ("010002-background-1", "train", "scene-01"),
        ("190001-person-0", "test", "scene-19"),
        ("190001-background-0", "test", "scene-19"),
    ]


def test_boxes_end_at_the_edge_of_the_picture(root: Path) -> None:
    boxes = {pair.key: pair.reader_options["box"] for pair in source(root).pairs()}
    assert boxes["010002-person-1"] == [60, 40, WIDTH, HEIGHT]


def test_a_crop_is_the_same_place_in_both_lights(root: Path) -> None:
    person, background = list(source(root).pairs())[-2:]
    warm, cool = (source(root).read(pair, thermal.MODALITY) for pair in (person, background))
    assert warm.shape == cool.shape == (40, 16)
    assert warm.dtype == np.float32
    # JPEG rings at the edge of the person.
    assert warm[4:-4, 4:-4].mean() == pytest.approx(0.8, abs=0.02)
    assert cool.mean() == pytest.approx(0.2, abs=0.03)
    (seen,) = source(root).images(person)
    assert seen.shape == (40, 16, 3)
    np.testing.assert_allclose(seen[8:-8, 5:-5].mean((0, 1)), (200, 30, 30), atol=8)
    stored = thermal.ThermalSignal(side_px=28).store(warm)
    assert stored.shape == (28, 28)
    assert stored.mean() == pytest.approx(0.8, abs=0.05)


def test_grey_in_three_channels_reads_as_grey_in_one(root: Path) -> None:
    pair = next(iter(source(root).pairs()))
    one = source(root).read(pair, thermal.MODALITY)
    path = root / pair.signal
    Image.open(path).convert("RGB").save(path.with_suffix(".png"))
    path.with_suffix(".png").rename(path)
    np.testing.assert_array_equal(source(root).read(pair, thermal.MODALITY), one)


def test_false_colours_are_an_input_error(root: Path) -> None:
    pair = next(iter(source(root).pairs()))
    Image.new("RGB", (WIDTH, HEIGHT), (250, 120, 10)).save(root / pair.signal)
    with pytest.raises(InputError, match="expected a grey infrared picture, found colours"):
        source(root).read(pair, thermal.MODALITY)


def test_a_picture_smaller_than_its_annotation_is_an_input_error(root: Path) -> None:
    pair = next(iter(source(root).pairs()))
    for light in ("infrared", "visible"):
        Image.new("L", (20, 20)).save(root / light / "train" / "010002.jpg")
    message = "is 20×20, but its annotation has a box up to 26, 48"
    with pytest.raises(InputError, match=message):
        source(root).read(pair, thermal.MODALITY)
    with pytest.raises(InputError, match=message):
        source(root).images(pair)


@st.composite
def crowds(draw: st.DrawFn) -> _Frame:
    people = []
    for _ in range(draw(st.integers(1, 6))):
        left, top = draw(st.integers(0, WIDTH - 2)), draw(st.integers(0, HEIGHT - 2))
        right, bottom = draw(st.integers(left + 1, WIDTH)), draw(st.integers(top + 1, HEIGHT))
        people.append((left, top, right, bottom))
    return _Frame(draw(st.from_regex(r"\d{6}", fullmatch=True)), WIDTH, HEIGHT, tuple(people))


@given(frame=crowds())
def test_a_background_has_the_persons_size_and_nobody_in_it(frame: _Frame) -> None:
    for number, person in enumerate(frame.people):
        box = _background(frame, person, number)
        assert box == _background(frame, person, number)
        if box is None:
            continue
        left, top, right, bottom = box
        assert (right - left, bottom - top) == (person[2] - person[0], person[3] - person[1])
        assert left >= 0 <= top
        assert right <= WIDTH
        assert bottom <= HEIGHT
        taken = np.zeros((HEIGHT, WIDTH), bool)
        for x0, y0, x1, y1 in frame.people:
            taken[y0:y1, x0:x1] = True
        assert not taken[top:bottom, left:right].any()


def test_a_frame_full_of_people_has_no_background(tmp_path: Path) -> None:
    for side, name in (("train", "010001"), ("test", "190001")):
        add_frame(tmp_path, side, name, annotation((0, 0, WIDTH, HEIGHT)))
    labels = [pair.label for pair in source(tmp_path).pairs()]
    assert labels == ["person", "person"]


def rewrite(root: Path, xml: str) -> None:
    (root / "Annotations" / "010002.xml").write_text(xml)


MISTAKES: dict[str, tuple[Callable[[Path], object], str]] = {
    "no frames": (
        lambda root: (root / "visible" / "test" / "190001.jpg").unlink(),
        "visible/test: expected frames NNNNNN.jpg, found none",
    ),
    "a strange name": (
        lambda root: (root / "infrared" / "train" / "copy of 010002.jpg").touch(),
        "infrared/train: expected frames NNNNNN.jpg, found copy of 010002",
    ),
    "a frame in one light": (
        lambda root: (root / "visible" / "train" / "010002.jpg").unlink(),
        "infrared/train and visible/train, found 010002 in one",
    ),
    "a frame on both sides": (
        lambda root: add_frame(root, "test", "010002", annotation(PERSON)),
        "found 010002 in train and in test",
    ),
    "no annotation": (
        lambda root: (root / "Annotations" / "010002.xml").unlink(),
        "found 010002 without its annotation",
    ),
    "an annotation of nothing": (
        lambda root: (root / "Annotations" / "010009.xml").write_text(annotation()),
        r"found 010009 without .* its pictures",
    ),
    "no XML": (
        lambda root: rewrite(root, "<annotation><object>"),
        "010002.xml cannot be read as XML",
    ),
    "another object": (
        lambda root: rewrite(root, annotation(PERSON, name="dog")),
        "010002.xml: found an object 'dog'; expected 'person' only",
    ),
    "no number": (
        lambda root: rewrite(root, annotation((1, 2, "wide", 9))),
        "010002.xml: found bndbox/xmax 'wide'; expected a number",
    ),
    "an endless box": (
        lambda root: rewrite(root, annotation((1, 2, "inf", 9))),
        "010002.xml: found bndbox/xmax 'inf'; expected a number",
    ),
    "no box": (
        lambda root: rewrite(root, annotation(PERSON).replace("bndbox", "polygon")),
        "010002.xml: found bndbox/xmin ''; expected a number",
    ),
    "no size": (
        lambda root: rewrite(root, annotation(PERSON, width=0)),
        "010002.xml: found size 0×64",
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes_are_refused(root: Path, mistake: str) -> None:
    damage, message = MISTAKES[mistake]
    damage(root)
    with pytest.raises(ConfigError, match=message):
        list(source(root).pairs())


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The made-up set with fewer scenes, to save time."""
    folder = tmp_path_factory.mktemp("llvip")
    made_up_llvip.write(folder, {"train": range(1, 4), "test": range(19, 21)})
    return folder


def test_the_made_up_set_is_of_this_layout(made: Path) -> None:
    pairs = list(source(made).pairs())
    counts = Counter((pair.split, pair.label) for pair in pairs)
    assert set(counts) == {(s, c) for s in ("train", "test") for c in ("person", "background")}
    assert min(counts.values()) >= 20
    assert len({pair.group for pair in pairs}) == 5
    for pair in pairs[:6]:
        warmth, (seen,) = source(made).read(pair, thermal.MODALITY), source(made).images(pair)
        assert warmth.shape == seen.shape[:2]
        assert min(warmth.shape) >= 30


def test_the_made_up_set_is_the_same_every_time(made: Path, tmp_path: Path) -> None:
    made_up_llvip.write(tmp_path, {"train": range(2, 3)})
    written = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(written) == 30
    for path in written:
        assert path.read_bytes() == (made / path.relative_to(tmp_path)).read_bytes()


@pytest.mark.parametrize("light", ["infrared", "visible"])
def test_made_up_people_are_told_from_the_background_in_both_lights(made: Path, light: str) -> None:
    """A person stands out from the left and right edge of its box; chance is 0.5."""
    set_ = source(made)
    contrasts: dict[str, list[float]] = {"person": [], "background": []}
    for pair in set_.pairs():
        crop = (
            set_.read(pair, thermal.MODALITY) * 255 if light == "infrared" else set_.images(pair)[0]
        )
        crop = crop.reshape(*crop.shape[:2], -1)
        middle = crop[:, crop.shape[1] // 3 : -(crop.shape[1] // 3)].mean((0, 1))
        contrasts[str(pair.label)].append(float(np.abs(middle - crop[:, :4].mean((0, 1))).mean()))
    people, background = (np.array(values) for values in contrasts.values())
    # The chance that a person stands out more than a background does.
    assert (people[:, None] > background).mean() > 0.75
