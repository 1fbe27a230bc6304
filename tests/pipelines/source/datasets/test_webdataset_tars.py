"""WebDataset tars: indexed once, read by place, sides by glob."""

from __future__ import annotations

import io
import json
import re
import tarfile
import wave
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from pydantic import ValidationError
from upath import UPath

from pipelines.source.base import Incomplete, Pair
from pipelines.source.datasets.webdataset_tars import WebdatasetTars
from pipelines.store.shards import encode_array, encode_png, read_shard
from tests.pipelines.shard_bytes import encode_shard
from vitlens_core.errors import ConfigError, InputError
from vitlens_core.modalities import audio, imu

Files = dict[str, bytes]


def write_tar(path: Path, files: Files, form: int = tarfile.GNU_FORMAT) -> Path:
    """Files in the order they are given."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w", format=form) as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return path


def _wav(frequency_hz: float) -> bytes:
    seconds = np.arange(8000) / 16_000
    samples = (8000 * np.sin(2 * np.pi * frequency_hz * seconds)).astype("<i2")
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16_000)
        file.writeframes(samples.tobytes())
    return buffer.getvalue()


def _jpg(colour: str, side_px: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (side_px, side_px), colour).save(buffer, format="jpeg")
    return buffer.getvalue()


def _dogs() -> Files:
    return {
        "__meta__": b"passed over",
        "a/dog1.wav": _wav(440),
        "a/dog1.jpg": _jpg("red", 8),
        "a/dog1.side.png": encode_png(np.zeros((6, 4, 3), np.uint8)),
        "a/dog1.txt": b"a dog barks\n\n two barks \n",
        "a/dog1.json": json.dumps({"label": "dog", "group": "Rex"}).encode(),
        "a/dog1.unknown.xyz": b"passed over",
        "a/dog2.wav": _wav(220),
        "a/dog2.cls": b"1\n",
    }


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_tar(tmp_path / "dogs-000000.tar", _dogs())
    write_tar(
        tmp_path / "cats" / "cats-000000.tar", {"a/dog1.wav": _wav(880), "a/dog1.txt": b"cat"}
    )
    return tmp_path


def _made(source: WebdatasetTars) -> list[Pair]:
    """The pairs of a source of which none is incomplete."""
    pairs = list(source.pairs())
    assert all(isinstance(pair, Pair) for pair in pairs)
    return [pair for pair in pairs if isinstance(pair, Pair)]


def _source(folder: Path, **settings: Any) -> WebdatasetTars:
    usual = {"root": str(folder), "train": ("dogs-*.tar",), "classes": ("cat", "wolf")}
    return WebdatasetTars.model_validate(usual | settings)


def test_a_sample_is_a_pair_by_place(folder: Path) -> None:
    pairs = _made(_source(folder, test=("cats/*.tar",)))
    first = pairs[0]
    tar = folder / "dogs-000000.tar"
    assert first == Pair(
        key="dogs-000000-a-dog1",
        signal="dogs-000000.tar",
        reader_options={
            "signal": first.reader_options["signal"],
            "images": first.reader_options["images"],
        },
        images=("dogs-000000.tar", "dogs-000000.tar"),
        texts=("a dog barks", "two barks"),
        label="dog",
        split="train",
        group="Rex",
        name="a/dog1",
    )
    offset, size, ending = first.reader_options["signal"]
    assert tar.read_bytes()[offset : offset + size] == _dogs()["a/dog1.wav"]
    assert ending == "wav"
    assert json.loads(json.dumps(first.reader_options)) == first.reader_options
    assert [(pair.key, pair.split, pair.label, pair.texts) for pair in pairs[1:]] == [
        ("dogs-000000-a-dog2", "train", "wolf", ()),
        ("cats-cats-000000-a-dog1", "test", None, ("cat",)),
    ]


def test_recordings_and_images_are_read_by_place(folder: Path) -> None:
    source = _source(folder)
    first, second = _made(source)
    waveform = source.read(first, audio.MODALITY)
    assert waveform.shape == (8000,)
    signal = audio.AudioSignal(clips=1, clip_s=0.5, mel_bins=16, frames=64)
    assert signal.store(waveform).shape == (1, 64, 16)
    assert not np.array_equal(waveform, source.read(second, audio.MODALITY))
    assert [image.shape for image in source.images(first)] == [(8, 8, 3), (6, 4, 3)]
    assert source.images(second) == []


def test_no_tar_is_searched_when_a_pair_is_read(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = _source(folder)
    pair = _made(source)[0]

    def search(*_: Any, **__: Any) -> None:
        raise AssertionError("a tar was opened as one")

    monkeypatch.setattr(tarfile, "open", search)
    source.read(pair, audio.MODALITY)
    source.images(pair)


def test_options_go_to_the_reader(tmp_path: Path) -> None:
    series = np.random.default_rng(0).standard_normal((6, 300))
    write_tar(tmp_path / "x.tar", {"k.imu.npy": encode_array(series), "k.cls": b"walking"})
    source = _source(tmp_path, train=("x.tar",), signal="imu.npy", reader_options={"rate_hz": 50})
    (pair,) = _made(source)
    raw = source.read(pair, imu.MODALITY)
    assert raw.shape == (6, 2400)
    assert imu.ImuSignal().store(raw).shape == (6, 2000)
    with pytest.raises(ConfigError, match="rate: Unexpected keyword"):
        _source(tmp_path, train=("x.tar",), reader_options={"rate": 50}).read(pair, imu.MODALITY)


_NAMES = st.text("abc-_0", min_size=1, max_size=120)  # long ones take headers of their own


@given(
    contents=st.dictionaries(_NAMES, st.binary(max_size=1500), min_size=1, max_size=5),
    form=st.sampled_from([tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]),
)
def test_every_place_holds_the_bytes_that_were_put_there(
    tmp_path_factory: pytest.TempPathFactory, contents: dict[str, bytes], form: int
) -> None:
    folder = tmp_path_factory.mktemp("tars")
    files: Files = {}
    for name, content in contents.items():
        files |= {f"{name}.txt": b"x", f"{name}.bin": content}
    path = write_tar(folder / "x.tar", files, form)
    whole = path.read_bytes()
    pairs = _made(_source(folder, train=("x.tar",), signal="bin"))
    found = {}
    for pair in pairs:
        offset, size, _ = pair.reader_options["signal"]
        found[pair.name] = whole[offset : offset + size]
    assert found == contents


def test_our_own_shards_are_read_alike(tmp_path: Path) -> None:
    samples = [
        {"__key__": f"s{n}", "bin": bytes([n]) * n, "txt": f"text {n}".encode()} for n in range(9)
    ]
    path = tmp_path / "shard.tar"
    path.write_bytes(encode_shard(samples))
    pairs = _made(_source(tmp_path, train=("shard.tar",), signal="bin"))
    assert [(pair.name, pair.texts[0]) for pair in pairs] == [
        (sample["__key__"], sample["txt"].decode()) for sample in read_shard(UPath(path))
    ]


def test_tars_come_in_the_order_of_their_names(tmp_path: Path) -> None:
    for name in ("c", "a", "b"):
        write_tar(tmp_path / f"{name}.tar", {"k.wav": b"x", "k.txt": b"x"})
    source = WebdatasetTars(root=str(tmp_path), unsplit=("*.tar",))
    assert [(pair.signal, pair.split) for pair in _made(source)] == [
        ("a.tar", None),
        ("b.tar", None),
        ("c.tar", None),
    ]


def test_tars_must_be_named() -> None:
    with pytest.raises(ValidationError, match="name the tars by globs"):
        WebdatasetTars(root="x")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"train": ("birds-*.tar",)}, r"source\.train: no tar 'birds-\*\.tar' in"),
        ({"test": ("/etc/*.tar",)}, r"source\.test: no tar '/etc/\*\.tar' in"),
        ({"unsplit": ("",)}, r"source\.unsplit: no tar '' in"),
        ({"test": ("*.tar",)}, r"source\.test: '\*\.tar' takes dogs-000000\.tar, .* in train"),
        ({"classes": ()}, r"sample a/dog2: class 1, but source\.classes names 0"),
        ({"classes": ("cat",)}, r"class 1, but source\.classes names 1, counted from 0"),
    ],
)
def test_settings_that_do_not_fit_the_tars_are_refused(
    folder: Path, settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        list(_source(folder, **settings).pairs())


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"k.txt": b"x"}, r"sample k: no \.wav, found txt"),
        ({"k.wav": b"x", "k.xyz": b""}, "expected an image, a caption or a class, found none"),
        ({"k.wav": b"x", "k.txt": b" \n"}, "expected an image, a caption or a class"),
        ({"k.wav": b"x", "k.json": b"{"}, r"sample k: its \.json is not JSON"),
        ({"k.wav": b"x", "k.json": b"[]"}, r"expected an object in \.json, found list"),
        ({"k.wav": b"x", "k.txt": b"\xff"}, r"its \.txt is no UTF-8 text"),
        (
            {"k.wav": b"x", "k.json": b'{"label": ["dog"]}'},
            "has label: expected a word, found list",
        ),
        ({"k.wav": b"x", "k.json": b'{"label": null, "group": null}'}, "expected an image"),
        ({"k.wav": b"x", "k.json": b'{"label": NaN}'}, "expected an image, a caption or a class"),
        ({"k.wav": b"x", "k.cls": b"nan"}, "expected an image, a caption or a class"),
    ],
)
def test_a_sample_that_is_wrong_is_set_aside(tmp_path: Path, files: Files, message: str) -> None:
    """A failed download is one sample, not the whole data set."""
    good = {"good.wav": b"x", "good.json": b'{"label": 3.0, "group": null}'}
    write_tar(tmp_path / "x.tar", {**good, **files})
    classes = tuple("abcd")
    kept, aside = _source(tmp_path, train=("x.tar",), classes=classes).pairs()
    assert isinstance(kept, Pair)
    assert (kept.label, kept.group) == ("d", "")
    assert isinstance(aside, Incomplete)
    assert aside.key == "x-k"
    assert re.search(message, aside.reason)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (
            {"k.wav": b"x", "k.txt": b"x", "l.wav": b"x", "l.txt": b"x", "k.jpg": b"x"},
            r"sample k has the key x-k, as has x\.tar, sample k",
        ),
        (
            {"k l.wav": b"x", "k l.txt": b"x", "k-l.wav": b"x", "k-l.txt": b"x"},
            r"sample k-l has the key x-k-l, as has x\.tar, sample k l",
        ),
    ],
)
def test_samples_that_are_wrong_are_refused(tmp_path: Path, files: Files, message: str) -> None:
    write_tar(tmp_path / "x.tar", files)
    with pytest.raises(ConfigError, match=message):
        list(_source(tmp_path, train=("x.tar",)).pairs())


def test_two_files_of_one_name_are_refused(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "x.tar", "w") as tar:
        for _ in range(2):
            tar.addfile(tarfile.TarInfo("k.wav"))
    with pytest.raises(ConfigError, match=r"sample k has two files \.wav"):
        list(_source(tmp_path, train=("x.tar",)).pairs())


@pytest.mark.parametrize(
    "damage",
    [
        lambda whole: whole[:700],  # inside the first file
        lambda whole: whole[: len(_dogs()["a/dog1.wav"]) + 2000],  # between two files
        lambda whole: whole[:1024] + b"\xff" * 512 + whole[1536:],  # the second header
        lambda whole: b"\x1f\x8b" + whole,  # compressed
        lambda whole: b"",
    ],
)
def test_a_damaged_tar_is_refused(folder: Path, damage: Callable[[bytes], bytes]) -> None:
    path = folder / "dogs-000000.tar"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(ConfigError, match="cannot be read as an uncompressed tar"):
        list(_source(folder).pairs())


def test_a_tar_that_shrank_since_is_refused(folder: Path) -> None:
    source = _source(folder)
    pair = _made(source)[0]
    path = folder / "dogs-000000.tar"
    path.write_bytes(path.read_bytes()[:3000])
    with pytest.raises(InputError, match=r"expected 16044 bytes at \d+ of .*, found"):
        source.read(pair, audio.MODALITY)
    path.unlink()
    with pytest.raises(InputError, match="cannot be read"):
        source.read(pair, audio.MODALITY)
