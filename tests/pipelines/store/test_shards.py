"""Shards: plain WebDataset tars, the same bytes for the same input, and damage that shows."""

from __future__ import annotations

import io
import os
import tarfile
import tempfile
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from upath import UPath
from webdataset.compat import WebDataset

from pipelines.store.files import file_entry
from pipelines.store.shards import (
    OpenShard,
    Sample,
    checksum,
    decode_array,
    decode_png,
    encode_array,
    encode_compressed,
    encode_json,
    encode_png,
    read_shard,
    read_sums,
    view_names,
    write_shard,
)
from tests.pipelines.shard_bytes import encode_shard
from vitlens_core.errors import IntegrityError

keys = st.lists(
    st.text("abcXYZ019_-", min_size=1, max_size=64), min_size=1, max_size=6, unique=True
)
contents = st.dictionaries(
    st.sampled_from(["json", "points.npy", "view00.png", "view01.png", "depth.npz"]),
    st.binary(max_size=1500),
    min_size=1,
)


def _written(folder: Path, data: bytes) -> UPath:
    path = UPath(folder / "a.tar")
    path.write_bytes(data)
    return path


@st.composite
def shards(draw: st.DrawFn) -> list[Sample]:
    return [{"__key__": key, **draw(contents)} for key in draw(keys)]


@given(samples=shards())
@settings(deadline=None, max_examples=25)
def test_what_is_written_is_read_in_the_same_order(samples: list[Sample], tmp_path_factory) -> None:
    path = _written(tmp_path_factory.mktemp("shard"), encode_shard(samples))
    assert list(read_shard(path)) == samples


@given(samples=shards())
@settings(deadline=None, max_examples=15)
def test_plain_webdataset_reads_them(samples: list[Sample], tmp_path_factory) -> None:
    path = _written(tmp_path_factory.mktemp("shard"), encode_shard(samples))
    found = list(WebDataset(str(path), shardshuffle=False))
    for sample, read in zip(samples, found, strict=True):
        assert {k: v for k, v in read.items() if not k.startswith("__")} == {
            k: v for k, v in sample.items() if k != "__key__"
        }
        assert read["__key__"] == sample["__key__"]


@given(samples=shards())
@settings(deadline=None, max_examples=15)
def test_the_same_samples_give_the_same_bytes(samples: list[Sample]) -> None:
    turned = [dict(reversed(sample.items())) for sample in samples]
    assert encode_shard(turned) == encode_shard(samples)


def test_an_empty_shard_is_a_shard(tmp_path: Path) -> None:
    assert list(read_shard(_written(tmp_path, encode_shard([])))) == []


SAMPLES = [{"__key__": f"object{i}", "json": b"{}", "points.npy": bytes(700)} for i in range(4)]


@given(cut=st.integers(0, 4 * 2560))
@settings(deadline=None, max_examples=60)
def test_a_truncated_tar_never_passes_for_a_whole_one(cut: int, tmp_path_factory) -> None:
    """Wherever it is cut: four samples of 512 + 512 and 512 + 1024 bytes, then the end mark."""
    path = _written(tmp_path_factory.mktemp("shard"), encode_shard(SAMPLES)[:cut])
    found = []
    with pytest.raises(IntegrityError, match=r"a\.tar is damaged after sample") as raised:
        found.extend(read_shard(path))
    assert found == SAMPLES[: len(found)]
    assert "sample none" in str(raised.value) or "sample object" in str(raised.value)


def test_a_damaged_header_does_not_pass_for_the_end(tmp_path: Path) -> None:
    data = bytearray(encode_shard(SAMPLES))
    data[2560 + 10] ^= 0xFF  # in the name of the second sample's first file
    with pytest.raises(IntegrityError, match="damaged after sample object0"):
        list(read_shard(_written(tmp_path, bytes(data))))


def test_what_is_no_tar_is_damaged(tmp_path: Path) -> None:
    with pytest.raises(IntegrityError, match="after sample none"):
        list(read_shard(_written(tmp_path, b"<html></html>" * 100)))


def test_arrays_and_pictures_come_back_as_they_were() -> None:
    rng = np.random.default_rng(0)
    points = rng.normal(size=(5, 6)).astype(np.float16)
    np.testing.assert_array_equal(decode_array(encode_array(points)), points)
    for channels in (3, 4):
        picture = rng.integers(256, size=(6, 7, channels), dtype=np.uint8)
        np.testing.assert_array_equal(decode_png(encode_png(picture)), picture)
    depth = rng.random((2, 3, 3), dtype=np.float32)
    np.testing.assert_array_equal(
        np.load(io.BytesIO(encode_compressed(depth_m=depth)))["depth_m"], depth
    )


def test_encodings_are_the_same_every_time() -> None:
    depth = np.ones((2, 3, 3), np.float32)
    assert encode_compressed(depth_m=depth) == encode_compressed(depth_m=depth)
    assert (
        encode_json({"b": 1, "a": "é"})
        == encode_json({"a": "é", "b": 1})
        == '{"a": "é", "b": 1}'.encode()
    )


def test_arrays_of_objects_are_not_unpickled() -> None:
    buffer = io.BytesIO()
    np.save(buffer, np.array([print], dtype=object), allow_pickle=True)
    with pytest.raises(ValueError, match="expected an array that `encode_array` wrote"):
        decode_array(buffer.getvalue())


@pytest.mark.parametrize("count", [1, 12, 120])
def test_views_are_named_in_the_order_of_the_cameras(count: int) -> None:
    sample = dict.fromkeys([*(f"view{i:02d}.png" for i in range(count)), "json"], b"")
    numbers = [int(name[4:-4]) for name in view_names(dict(sorted(sample.items())))]
    assert len(numbers) == count
    assert all(one < other for one, other in pairwise(numbers))


@given(name=st.text("abcXYZ019_-", min_size=1, max_size=150), size=st.integers(0, 9000))
@settings(deadline=None, max_examples=40)
def test_what_tarfile_writes_is_read_as_tarfile_reads_it(
    name: str, size: int, tmp_path_factory
) -> None:
    """Long names too, which USTAR keeps in two places."""
    folder = "f" * 90
    content = bytes(range(256)) * 36
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        member = tarfile.TarInfo(f"{folder}/{name[:90]}.bin")
        member.size = size
        tar.addfile(member, io.BytesIO(content[:size]))
    path = _written(tmp_path_factory.mktemp("foreign"), buffer.getvalue())
    assert list(read_shard(path)) == [{"__key__": f"{folder}/{name[:90]}", "bin": content[:size]}]


def test_a_link_in_a_tar_is_refused(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        member = tarfile.TarInfo("a.json")
        member.type, member.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(member)
    with pytest.raises(IntegrityError, match="no plain file"):
        list(read_shard(_written(tmp_path, buffer.getvalue())))


def test_only_the_files_asked_for_are_read(tmp_path: Path) -> None:
    path = _written(tmp_path, encode_shard(SAMPLES))
    found = list(read_shard(path, only=["json"]))
    assert found == [{"__key__": s["__key__"], "json": b"{}"} for s in SAMPLES]


# --- checksums of samples -------------------------------------------------------------------


def _summed(folder: Path) -> UPath:
    path = UPath(folder / "a.tar")
    entry, count = write_shard(path, iter(SAMPLES))
    assert (entry, count) == (file_entry(path), len(SAMPLES))
    assert path.read_bytes() == encode_shard(SAMPLES)
    return path


def test_a_shard_is_written_with_the_checksums_of_its_samples(tmp_path: Path) -> None:
    path = _summed(tmp_path)
    assert read_sums(path) == {s["__key__"]: checksum(s) for s in SAMPLES}
    assert list(read_shard(path, read_sums(path))) == SAMPLES
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.sums", "a.tar"]


def test_a_stage_that_fails_half_way_leaves_no_shard(tmp_path: Path) -> None:
    def failing() -> Iterator[Sample]:
        yield SAMPLES[0]
        raise ValueError("half way")

    with pytest.raises(ValueError, match="half way"):
        write_shard(UPath(tmp_path / "a.tar"), failing())
    assert list(tmp_path.iterdir()) == []


@given(number=st.integers(0, 3), position=st.integers(0, 699), bit=st.integers(0, 7))
@settings(deadline=None, max_examples=40)
def test_a_flipped_bit_is_traced_to_its_sample(
    number: int, position: int, bit: int, tmp_path_factory
) -> None:
    path = _summed(tmp_path_factory.mktemp("flipped"))
    data = bytearray(path.read_bytes())
    # Four samples of two headers, a small and a large file: 512 + 512 + 512 + 1024 bytes.
    data[number * 2560 + 1536 + position] ^= 1 << bit
    path.write_bytes(bytes(data))
    with pytest.raises(IntegrityError, match=rf"a\.tar: sample object{number} differs"):
        list(read_shard(path, read_sums(path)))
    assert len(list(read_shard(path))) == len(SAMPLES)  # unasked, nobody notices


def test_a_sample_too_few_is_noticed(tmp_path: Path) -> None:
    path = _summed(tmp_path)
    path.write_bytes(encode_shard(SAMPLES[:3]))
    with pytest.raises(IntegrityError, match="3 samples, 4 were written"):
        list(read_shard(path, read_sums(path)))


@pytest.mark.parametrize("damage", ["missing", "not numbers"])
def test_checksums_that_are_gone_are_said_to_be(tmp_path: Path, damage: str) -> None:
    path = _summed(tmp_path)
    sums = tmp_path / "a.sums"
    sums.unlink() if damage == "missing" else sums.write_text("what object0")
    with pytest.raises(IntegrityError, match="no checksums of samples"):
        read_sums(path)


def test_a_shard_of_an_object_store_is_read_from_a_copy_that_ends_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    path = UPath(f"memory://{tmp_path}/a.tar")
    write_shard(path, iter(SAMPLES))
    before = len(os.listdir("/proc/self/fd"))
    shard = OpenShard(path, read_sums(path))
    assert [shard.read(number) for number in range(len(shard))] == SAMPLES
    start, size = shard.places(1)["points.npy"]
    found = bytearray(size)
    shard.read_into(start, memoryview(found))
    assert found == SAMPLES[1]["points.npy"]
    assert list(tmp_path.iterdir()) == []  # the copy has no name
    del shard
    assert len(os.listdir("/proc/self/fd")) == before
