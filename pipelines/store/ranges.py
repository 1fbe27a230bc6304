"""ranges: reads some files of every sample of an object store's tar, without copying the tar.

Reads     `train-00000.sums` beside the tar, whose lines have the size of every file of a sample.
          Where they lie follows: a tar has a header of one block before each file and pads it.
Promises  only the bytes asked for are fetched, several ranges at a time.
"""

from __future__ import annotations

import tarfile
from collections.abc import Collection, Iterator, Mapping
from typing import NamedTuple

from upath import UPath

from vitlens_core.errors import IntegrityError

_TOGETHER = 256  # ranges asked for at a time
_MOST = 0.5  # share of a tar that is read in parts; above, one request for the whole is cheaper


class _Place(NamedTuple):
    """Where a file of a sample lies in the tar."""

    key: str
    extension: str
    start: int
    size: int


def sized(key: str, files: Mapping[str, int]) -> str:
    """Write the key and the sizes of a sample's files, by extension, for a line of checksums."""
    return key + "".join(f"\t{extension}:{size}" for extension, size in files.items())


def read_parts(path: UPath, only: Collection[str]) -> Iterator[dict[str, object]] | None:
    """Return the samples of a tar with the files `only`, or None if it should be read whole.

    That is where most of it is asked for, or no sizes lie beside it.

    Raises:
        IntegrityError: the tar is shorter than its sizes say.
    """
    sums = path.with_suffix(".sums")
    if not sums.exists():
        return None
    places = list(_places(sums.read_text()))
    wanted = sum(place.size for place in places if place.extension in only)
    if not places or wanted > _MOST * sum(place.size for place in places):
        return None
    return _read(path, places, only)


def _read(path: UPath, places: list[_Place], only: Collection[str]) -> Iterator[dict[str, object]]:
    chosen = [place for place in places if place.extension in only]
    fetched = _fetched(path, chosen)
    sample: dict[str, object] = {}
    for place in places:
        if sample.get("__key__") != place.key:
            if sample:
                yield sample
            sample = {"__key__": place.key}
        if place.extension in only:
            sample[place.extension] = next(fetched)
    yield sample


def _fetched(path: UPath, places: list[_Place]) -> Iterator[bytes]:
    for first in range(0, len(places), _TOGETHER):
        part = places[first : first + _TOGETHER]
        found = path.fs.cat_ranges(
            [path.path] * len(part),
            [place.start for place in part],
            [place.start + place.size for place in part],
            on_error="raise",
        )
        for place, data in zip(part, found, strict=True):
            if len(data) != place.size:
                raise IntegrityError(
                    f"{path}: {place.extension} of sample {place.key} is cut short; verify the "
                    "store with `vitlens verify`"
                )
            yield data


def _places(text: str) -> Iterator[_Place]:
    start = 0
    for line in text.splitlines():
        key, *files = line.partition(" ")[2].split("\t")
        for file in files:
            extension, _, size = file.rpartition(":")
            start += tarfile.BLOCKSIZE
            yield _Place(key, extension, start, int(size))
            start += -(-int(size) // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE
