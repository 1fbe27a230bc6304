"""Some files of a tar in an object store: the bytes asked for and no others."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem
from hypothesis import given, settings
from hypothesis import strategies as st
from upath import UPath

from pipelines.store.shards import Sample, read_shard, read_sums, write_shard
from vitlens_core.errors import IntegrityError

KINDS = ["json", "points.npy", "view00.png", "view01.png"]


class Counted(MemoryFileSystem):
    """An object store in memory that counts the bytes it gives out."""

    store: dict[str, Any] = {}  # noqa: RUF012  as fsspec has it
    pseudo_dirs = [""]  # noqa: RUF012
    given = 0

    def cat_file(self, path: str, start: Any = None, end: Any = None, **options: Any) -> bytes:
        data = super().cat_file(path, start, end, **options)
        Counted.given += len(data)
        return data

    def _open(self, path: str, mode: str = "rb", *args: Any, **options: Any) -> Any:
        if mode == "rb":
            Counted.given += self.size(path)
        return super()._open(path, mode, *args, **options)


@pytest.fixture(scope="module", autouse=True)
def registered() -> Iterator[None]:
    """In place of fsspec's own, whose paths UPath knows."""
    fsspec.register_implementation("memory", Counted, clobber=True)
    yield
    fsspec.register_implementation("memory", MemoryFileSystem, clobber=True)
    Counted.store.clear()


SAMPLES: list[Sample] = [
    {
        "__key__": f"object{n}",
        "json": b"{}" * (n + 1),
        "points.npy": bytes(30_000),
        "view00.png": b"x" * 1000,
    }
    for n in range(20)
]


def _part(sample: Sample, only: list[str]) -> Sample:
    return {name: data for name, data in sample.items() if name == "__key__" or name in only}


def _stored(path: UPath, samples: list[Sample]) -> UPath:
    write_shard(path, iter(samples))
    Counted.given = 0
    return path


def test_a_small_part_of_every_sample_costs_its_own_bytes() -> None:
    path = _stored(UPath("memory:///bucket/a.tar"), SAMPLES)
    found = list(read_shard(path, only=["json"]))
    assert found == [_part(sample, ["json"]) for sample in SAMPLES]
    of_json = sum(len(sample["json"]) for sample in SAMPLES)
    beside = path.with_suffix(".sums").stat().st_size
    assert Counted.given <= of_json + 2 * beside
    assert path.stat().st_size > 300 * of_json


def test_what_is_most_of_a_tar_is_read_as_a_whole() -> None:
    path = _stored(UPath("memory:///bucket/b.tar"), SAMPLES)
    found = list(read_shard(path, only=["json", "points.npy"]))
    assert [sample["__key__"] for sample in found] == [s["__key__"] for s in SAMPLES]
    assert Counted.given >= path.stat().st_size


def test_checked_reads_are_of_whole_samples() -> None:
    path = _stored(UPath("memory:///bucket/c.tar"), SAMPLES)
    found = list(read_shard(path, read_sums(path), only=["json"]))
    assert found == [_part(sample, ["json"]) for sample in SAMPLES]
    assert Counted.given >= path.stat().st_size


def test_a_tar_that_is_shorter_than_its_sizes_is_refused() -> None:
    path = _stored(UPath("memory:///bucket/d.tar"), SAMPLES)
    path.write_bytes(path.read_bytes()[:600])
    with pytest.raises(IntegrityError, match=r"json of sample object\d+ is cut short"):
        list(read_shard(path, only=["json"]))


@given(
    samples=st.lists(
        st.dictionaries(st.sampled_from(KINDS), st.binary(max_size=1500), min_size=1),
        min_size=1,
        max_size=6,
    ),
    only=st.lists(st.sampled_from(KINDS), unique=True),
)
@settings(deadline=None, max_examples=60)
def test_a_part_read_by_ranges_is_that_of_the_whole(
    samples: list[dict[str, bytes]], only: list[str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    named: list[Sample] = [{"__key__": f"k{n}", **files} for n, files in enumerate(samples)]
    folder = tmp_path_factory.mktemp("whole")
    write_shard(UPath(folder / "a.tar"), iter(named))
    expected = [dict(sample) for sample in read_shard(UPath(folder / "a.tar"), only=only)]
    path = _stored(UPath("memory:///bucket/e.tar"), named)
    assert [dict(sample) for sample in read_shard(path, only=only)] == expected
    assert Path(folder, "a.sums").read_bytes() == path.with_suffix(".sums").read_bytes()
