"""Shards: WebDataset tars with deterministic bytes, and the checksums of their samples.

A sample is a dictionary of encoded files by extension, with its key under `__key__`, as in
webdataset. The same samples give the same bytes: members are sorted, times and owners are
constant. Any webdataset reader reads the tars. Beside `train-00000.tar` lies
`train-00000.sums` with a line per sample, `crc32 key` and the size of each of its files: it traces
damage to a sample, and says where the files lie (`ranges`).
"""

from __future__ import annotations

import io
import json
import math
import mmap
import os
import shutil
import struct
import tarfile
import tempfile
import warnings
import zlib
from array import array
from collections.abc import Collection, Iterable, Iterator, Mapping
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, NamedTuple
from weakref import finalize

import numpy as np
from PIL import Image
from pydantic import BaseModel
from upath import UPath

from pipelines.store.files import FileEntry, atomic_file, write_atomic
from pipelines.store.ranges import read_parts, sized
from pipelines.store.tar_index import TarIndex
from vitlens_core.errors import IntegrityError
from vitlens_core.signals.checks import finite

Sample = dict[str, Any]
# What Pillow raises for a damaged PNG.
_BROKEN_PNG = (OSError, SyntaxError, ValueError, zlib.error, EOFError, struct.error)
_BROKEN_PNG += (Image.DecompressionBombError, Image.DecompressionBombWarning)
_EPOCH_S = 1  # a fixed modification time: the same input gives the same bytes
# Larger files are views of the mapped tar; for smaller ones a copy costs less than the view.
_VIEWED_BYTES = 4096
_COPIED_BYTES = 1 << 20  # block size of a copy from an object store


def write_shard(path: UPath, samples: Iterable[Sample]) -> tuple[FileEntry, int]:
    """Write a tar of encoded samples, and their checksums beside it, one sample at a time.

    Returns the tar's entry and the number of samples.
    """
    with atomic_file(path) as file:
        written = write_samples(file, samples)
        sums = [f"{checksum(sample):08x} {_described(sample)}\n" for sample in written]
    write_atomic(_sums_path(path), "".join(sums).encode())
    return file.entry, len(sums)


def _described(sample: Sample) -> str:
    sizes = {extension: len(sample[extension]) for extension in _extensions(sample)}
    return sized(sample["__key__"], sizes)


def write_samples(file: Any, samples: Iterable[Sample]) -> Iterator[Sample]:
    """Write a tar to `file`; each sample is yielded once written, its files side by side.

    It uses tarfile, since webdataset's own writer imports torch, which would cost every bulk
    worker some seconds and 600 MB.
    """
    with tarfile.open(fileobj=file, mode="w|", format=tarfile.USTAR_FORMAT) as tar:
        for sample in samples:
            for extension in _extensions(sample):
                member = tarfile.TarInfo(f"{sample['__key__']}.{extension}")
                member.size, member.mtime = len(sample[extension]), _EPOCH_S
                tar.addfile(member, io.BytesIO(sample[extension]))
            yield sample


def checksum(sample: Sample) -> int:
    """Return the CRC-32 of a sample's files and their names."""
    crc = 0
    for extension in _extensions(sample):
        crc = zlib.crc32(sample[extension], zlib.crc32(extension.encode(), crc))
    return crc


def read_sums(path: UPath) -> dict[str, int]:
    """Read the checksum of every sample of the tar at `path`, by key.

    Raises:
        IntegrityError: the file of checksums is missing or damaged.
    """
    sums = {}
    try:
        for line in _sums_path(path).read_text().splitlines():
            value, _, key = line.partition(" ")
            sums[key.partition("\t")[0]] = int(value, 16)
    except (FileNotFoundError, ValueError) as error:
        raise IntegrityError(f"{_sums_path(path)}: no checksums of samples: {error}") from error
    return sums


def read_shard(
    path: UPath,
    sums: Mapping[str, int] | None = None,
    only: Collection[str] | None = None,
) -> Iterator[Sample]:
    """Yield the samples of a tar, undecoded and in stored order.

    Some files of an object store's tar are read without the others, unless there are checksums.
    Arguments and errors as `OpenShard`.
    """
    if only is not None and sums is None and not isinstance(path, Path):
        parts = read_parts(path, only)
        if parts is not None:
            yield from parts
            return
    shard = OpenShard(path, sums)
    for number in range(len(shard)):
        yield shard.read(number, only)


Layout = tuple[np.dtype, tuple[int, ...]]  # of an array: its type and shape


class ArrayPlace(NamedTuple):
    """Where the values of an array lie in a tar: the first byte, type and shape."""

    start: int
    dtype: np.dtype
    shape: tuple[int, ...]


class ArrayPlaces:
    """The place of one array in every sample of a tar, or None where a sample has none.

    A sample takes 16 bytes: trainings keep the places of all samples in memory.
    """

    def __init__(self) -> None:
        self._starts = array("q")
        self._layouts: list[Layout | None] = []

    def append(self, start: int, layout: Layout | None) -> None:
        self._starts.append(start)
        self._layouts.append(layout)

    def __getitem__(self, number: int) -> ArrayPlace | None:
        layout = self._layouts[number]
        return layout and ArrayPlace(self._starts[number], *layout)


class OpenShard:
    """One tar whose samples are read by number.

    Args:
        sums: checksums with which every sample is compared when it is read.

    Raises:
        IntegrityError: the tar or a sample is damaged; the message names the tar and either the
            sample or the last good one.
    """

    def __init__(self, path: UPath, sums: Mapping[str, int] | None = None) -> None:
        self.path = path
        self._sums = sums
        self._file = os.open(path, os.O_RDONLY) if isinstance(path, Path) else _copied(path)
        finalize(self, os.close, self._file)

    def __len__(self) -> int:
        return len(self._index.keys)

    @property
    def keys(self) -> list[str]:
        return self._index.keys

    @cached_property
    def _tar(self) -> memoryview:
        """The whole tar, mapped into memory, so that nothing is copied."""
        if not os.fstat(self._file).st_size:  # an empty file cannot be mapped
            return memoryview(b"")
        return memoryview(mmap.mmap(self._file, 0, access=mmap.ACCESS_READ))

    @cached_property
    def _index(self) -> TarIndex:
        index = TarIndex(self._tar, self.path)
        if self._sums is not None and len(index.keys) != len(self._sums):
            raise IntegrityError(
                f"{self.path}: found {len(index.keys)} samples, {len(self._sums)} were written"
            )
        return index

    def read(self, number: int, only: Collection[str] | None = None) -> Sample:
        """Read a sample, undecoded.

        Args:
            only: the files to read, by extension; all others are left out.
        """
        self.check(number)
        sample: Sample = {"__key__": self.keys[number]}
        for name, (start, size) in self._index.files(number).items():
            if only is None or name in only:
                view = self._view(start, size)
                sample[name] = view if size > _VIEWED_BYTES else bytes(view)
        return sample

    def places(self, number: int) -> dict[str, tuple[int, int]]:
        """Return the first byte and the size of each file of a sample, by extension."""
        return self._index.files(number)

    def check(self, number: int) -> None:
        """Compare a sample with its checksum, if there are checksums (`IntegrityError`)."""
        if self._sums is None:
            return
        files = {name: self._view(*place) for name, place in self._index.files(number).items()}
        if self._sums.get(self.keys[number]) != checksum(files):
            raise IntegrityError(
                f"{self.path}: sample {self.keys[number]} differs from its checksum"
            )

    def array_places(self, extension: str) -> ArrayPlaces:
        """Return where the array of the `.npy` file `extension` lies in every sample."""
        places = ArrayPlaces()
        for number in range(len(self)):
            start, size = self._index.files(number).get(extension, (0, 0))
            begin, layout = _npy_layout(self._view(start, size)) if size else (0, None)
            places.append(start + begin, layout)
        return places

    def read_into(self, start: int, out: memoryview) -> None:
        """Fill `out` with the bytes from `start` on.

        The bytes are read instead of copied from the mapped file, as mapping pages takes longer.
        """
        if os.preadv(self._file, (out,), start) != len(out):
            raise IntegrityError(f"{self.path}: the tar was cut short after it had been opened")

    def _view(self, start: int, size: int) -> memoryview:
        return self._tar[start : start + size]


def _copied(path: UPath) -> int:
    """Copy an object store's file to an unnamed local file (in `$TMPDIR`) and return it open.

    The space is freed when the file is closed. Tars in memory would take gigabytes per worker.
    """
    with tempfile.TemporaryFile(prefix="vitlens-shard-") as copy:
        with path.open("rb") as stored:
            shutil.copyfileobj(stored, copy, _COPIED_BYTES)
        copy.flush()
        return os.dup(copy.fileno())


def _extensions(sample: Sample) -> list[str]:
    return sorted(sample.keys() - {"__key__"})


def _sums_path(path: UPath) -> UPath:
    return path.with_suffix(".sums")


def encode_json(value: object) -> bytes:
    return json.dumps(value, sort_keys=True, ensure_ascii=False).encode()


def encode_model(model: BaseModel) -> bytes:
    """Encode a model as JSON for `Artifact.read_model`."""
    return encode_json(model.model_dump(mode="json"))


def encode_array(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, np.asarray(array, order="C"), allow_pickle=False)
    return buffer.getvalue()


def encode_signal(signal: np.ndarray) -> bytes:
    """Encode a signal for a sample; floats are stored as fp16, which halves the tars.

    Raises:
        InputError: a number is NaN or infinite, or larger than fp16 holds.
    """
    if signal.dtype.kind != "f":
        return encode_array(signal)
    with np.errstate(over="ignore"):  # what overflows is refused below
        halves = signal.astype(np.float16)
    return encode_array(finite(halves, f"a signal of numbers up to {np.finfo(np.float16).max}"))


def encode_compressed(**arrays: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, **arrays)
    return buffer.getvalue()


def encode_png(image: np.ndarray) -> bytes:
    """Encode uint8 [H, W, 3 or 4] as PNG."""
    buffer = io.BytesIO()
    # Level 2 takes half the time of the default level for 8 % more bytes.
    Image.fromarray(image).save(buffer, format="png", compress_level=2)
    return buffer.getvalue()


def decode_array(data: bytes | memoryview) -> np.ndarray:
    """Return the array of a `.npy` file as a view of `data`; do not write to it."""
    start, (dtype, shape) = _npy_layout(data)
    return np.frombuffer(data, dtype, offset=start, count=math.prod(shape)).reshape(shape)


def _npy_layout(data: bytes | memoryview) -> tuple[int, Layout]:
    """Return where a `.npy` file's values begin, and their type and shape."""
    # Format 1.0: 8 bytes of magic and version, 2 bytes of header length, the header.
    start = 10 + int.from_bytes(data[8:10], "little")
    return start, _npy_header(bytes(data[:start]))


@lru_cache(maxsize=256)  # the arrays of a data set have few shapes, so few different headers
def _npy_header(header: bytes) -> Layout:
    shape, is_fortran, dtype = np.lib.format.read_array_header_1_0(io.BytesIO(header[8:]))
    if header[:8] != b"\x93NUMPY\1\0" or is_fortran or dtype.hasobject:
        raise ValueError(f"expected an array that `encode_array` wrote, found {header[:80]!r}")
    return dtype, shape


def decode_png(data: bytes) -> np.ndarray:
    """Return the pixels of a PNG (`IntegrityError`: as `open_png`)."""
    return np.asarray(open_png(data))


def open_png(data: bytes) -> Image.Image:
    """Decode a picture of a sample, as a PNG and nothing else.

    Raises:
        IntegrityError: it is no PNG, is damaged, or has more pixels than Pillow's limit.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            picture = Image.open(io.BytesIO(data), formats=("PNG",))
            picture.load()
    except _BROKEN_PNG as error:
        raise IntegrityError(
            f"a picture of a sample is no PNG that can be read: {error}; `vitlens verify` names "
            "the shard"
        ) from error
    return picture


def targets_file(kind: str) -> str:
    """Return the extension of a sample's targets of a kind: `image`, `text`, `teacher_<name>`."""
    return f"{kind}_targets.npy"


def teacher_file(name: str) -> str:
    """Return the extension of a sample's signals for a teacher, fp16 [K, …]."""
    return f"teacher_{name}.npy"


def ready_file(kind: str) -> str:
    """Return the extension of embeddings that a data set brought for a kind, fp16 [n, E]."""
    return f"{kind}_ready.npy"


def view_names(sample: Sample) -> list[str]:
    """Return the extensions of a sample's views in camera order (view99 before view100)."""
    names = [name for name in sample if name.startswith("view") and name.endswith(".png")]
    return sorted(names, key=lambda name: (len(name), name))
