"""Shards: WebDataset tars with deterministic bytes, and the checksums of their samples.

A sample is a dictionary of encoded files by extension, with its key under `__key__`, as
webdataset has it. Same samples in, same bytes out: members are sorted, times and owners
are constant. Any webdataset reader reads them. Beside `train-00000.tar` lies
`train-00000.sums`, a line `crc32 key` per sample, by which damage is traced to a sample.
"""

from __future__ import annotations

import io
import json
import math
import mmap
import os
import tarfile
import zlib
from collections.abc import Collection, Iterable, Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from upath import UPath

from pipelines.files import FileEntry, atomic_file, write_atomic
from vitlens_core.errors import IntegrityError

Sample = dict[str, Any]
_EPOCH_S = 1  # a fixed modification time: the same input gives the same bytes
_VIEWED_BYTES = 4096
_NUL, _PLAIN = b"\0", (b"0", b"\0")
_END, _BLANK_SUM = bytes(tarfile.BLOCKSIZE), b" " * 8


def write_shard(path: UPath, samples: Iterable[Sample]) -> tuple[FileEntry, int]:
    """One tar of samples whose values are bytes already, and their checksums beside it.

    One sample at a time is in memory. Returns the tar's entry and the number of samples.
    """
    with atomic_file(path) as file:
        written = write_samples(file, samples)
        sums = [f"{checksum(sample):08x} {sample['__key__']}\n" for sample in written]
    write_atomic(_sums_path(path), "".join(sums).encode())
    return file.entry, len(sums)


def write_samples(file: Any, samples: Iterable[Sample]) -> Iterator[Sample]:
    """Write a tar to `file`, sample by sample as they are taken; its files lie side by side.

    Written with tarfile: webdataset's own writer imports torch, which would cost every
    bulk worker some seconds and 600 MB.
    """
    with tarfile.open(fileobj=file, mode="w|", format=tarfile.USTAR_FORMAT) as tar:
        for sample in samples:
            for extension in _extensions(sample):
                member = tarfile.TarInfo(f"{sample['__key__']}.{extension}")
                member.size, member.mtime = len(sample[extension]), _EPOCH_S
                tar.addfile(member, io.BytesIO(sample[extension]))
            yield sample


def checksum(sample: Sample) -> int:
    """CRC-32 of a sample's files and their names."""
    found = 0
    for extension in _extensions(sample):
        found = zlib.crc32(sample[extension], zlib.crc32(extension.encode(), found))
    return found


def read_sums(path: UPath) -> dict[str, int]:
    """The checksum of every sample of the tar at `path`, by key (`IntegrityError`: none there)."""
    found = {}
    try:
        for line in _sums_path(path).read_text().splitlines():
            value, _, key = line.partition(" ")
            found[key] = int(value, 16)
    except (FileNotFoundError, ValueError) as error:
        raise IntegrityError(f"{_sums_path(path)}: no checksums of samples: {error}") from error
    return found


def read_shard(
    path: UPath,
    sums: Mapping[str, int] | None = None,
    only: Collection[str] | None = None,
) -> Iterator[Sample]:
    """Samples of one tar, undecoded, in stored order.

    Args:
        sums: checksums to compare every sample with.
        only: the files wanted of each, by extension; without `sums`, the others are skipped.

    Raises:
        IntegrityError: the tar or a sample is damaged; the message names both, or the last
            good sample.
    """
    found = 0
    for sample in _grouped(path, only if sums is None else None):
        if sums is not None and sums.get(sample["__key__"]) != checksum(sample):
            raise IntegrityError(f"{path}: sample {sample['__key__']} differs from its checksum")
        found += 1
        yield sample
    if sums is not None and found != len(sums):
        raise IntegrityError(f"{path}: {found} samples, {len(sums)} were written")


def _grouped(path: UPath, only: Collection[str] | None) -> Iterator[Sample]:
    """Files of one key that lie side by side are a sample."""
    sample: Sample = {}
    try:
        for name, content in _files(_content(path)):
            key, _, extension = name.partition(".")
            if sample and sample["__key__"] != key:
                yield sample
                sample = {}
            sample["__key__"] = key
            if only is None or extension in only:
                # Only what is large is worth a view of the file instead of bytes of its own.
                sample[extension] = content if len(content) > _VIEWED_BYTES else bytes(content)
    except tarfile.TarError as error:
        last = sample.get("__key__", "none")
        raise IntegrityError(f"{path} is damaged after sample {last}: {error}") from error
    if sample:
        yield sample


def _content(path: UPath) -> memoryview:
    """A whole tar: mapped where it is a local file, so that nothing is copied; else in memory."""
    if not isinstance(path, Path):
        return memoryview(path.read_bytes())
    with path.open("rb") as file:
        if not os.fstat(file.fileno()).st_size:
            return memoryview(b"")
        return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))


def _files(tar: memoryview) -> Iterator[tuple[str, memoryview]]:
    """Name and content of the files of a USTAR archive as `write_samples` writes it.

    tarfile does the same in ten times the time, which is most of what loading costs.

    Raises:
        tarfile.TarError: cut short, or a header that is damaged or of another kind.
    """
    start = 0
    while True:
        header = bytes(tar[start : start + tarfile.BLOCKSIZE])
        if header == _END:
            return
        if len(header) < tarfile.BLOCKSIZE:
            raise tarfile.ReadError("cut short")
        # Adler-32's lower half is the sum of all bytes, and one; the sum's own field counts as
        # blanks. Both are taken modulo 65521.
        summed = zlib.adler32(_BLANK_SUM, zlib.adler32(header[:148]))
        if (zlib.adler32(header[156:], summed) & 0xFFFF) != (_octal(header[148:156]) + 1) % 65521:
            raise tarfile.ReadError("its next header is damaged")
        if header[156:157] not in _PLAIN:
            raise tarfile.ReadError(f"holds {header[:100].rstrip(_NUL)!r}, which is no plain file")
        name = header[:100].rstrip(_NUL).decode()
        if header[345]:  # a long name's beginning
            name = f"{header[345:500].rstrip(_NUL).decode()}/{name}"
        start += tarfile.BLOCKSIZE
        size = _octal(header[124:136])
        if start + size > len(tar):
            raise tarfile.ReadError("cut short")
        yield name, tar[start : start + size]
        start += -(-size // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE


def member_offsets(path: UPath) -> dict[str, tuple[int, int]]:
    """Where each file of a tar lies: {name: (offset, size)} in bytes (`IntegrityError`)."""
    tar, found = _content(path), {}
    try:
        start = 0
        for name, content in _files(tar):
            start += tarfile.BLOCKSIZE
            found[name] = (start, len(content))
            start += -(-len(content) // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE
    except tarfile.TarError as error:
        raise IntegrityError(f"{path} is damaged: {error}") from error
    return found


def _octal(field: bytes) -> int:
    try:
        return int(field.rstrip(b" \0") or b"0", 8)
    except ValueError as error:
        raise tarfile.ReadError("its next header is damaged") from error


def _extensions(sample: Sample) -> list[str]:
    return sorted(sample.keys() - {"__key__"})


def _sums_path(path: UPath) -> UPath:
    return path.with_suffix(".sums")


def encode_json(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, ensure_ascii=False).encode()


def encode_array(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, np.asarray(array, order="C"), allow_pickle=False)
    return buffer.getvalue()


def encode_compressed(**arrays: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, **arrays)
    return buffer.getvalue()


def encode_png(image: np.ndarray) -> bytes:
    """uint8 [H, W, 3 or 4] → PNG. Level 2: half the time of the default for 8 % more bytes."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, format="png", compress_level=2)
    return buffer.getvalue()


def decode_array(data: bytes | memoryview) -> np.ndarray:
    """The array of a `.npy` file: a view of it, so not to be written to."""
    start = 10 + int.from_bytes(data[8:10], "little")
    dtype, shape = _npy_header(bytes(data[:start]))
    return np.frombuffer(data, dtype, offset=start, count=math.prod(shape)).reshape(shape)


@lru_cache(maxsize=256)  # a data set's arrays have few shapes
def _npy_header(header: bytes) -> tuple[np.dtype, tuple[int, ...]]:
    shape, is_fortran, dtype = np.lib.format.read_array_header_1_0(io.BytesIO(header[8:]))
    if header[:8] != b"\x93NUMPY\1\0" or is_fortran or dtype.hasobject:
        raise ValueError(f"no array as `encode_array` writes it: {header[:80]!r}")
    return dtype, shape


def decode_png(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)))


def view_names(sample: Sample) -> list[str]:
    """Extensions of a sample's views, in camera order: view99 before view100."""
    names = [name for name in sample if name.startswith("view") and name.endswith(".png")]
    return sorted(names, key=lambda name: (len(name), name))
