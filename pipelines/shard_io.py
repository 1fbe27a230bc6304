"""Shards: WebDataset tars with deterministic bytes, and the checksums of their samples.

A sample is a dictionary of encoded files by extension, with its key under `__key__`, as
webdataset has it. Same samples in, same bytes out: members are sorted, times and owners
are constant. Any webdataset reader reads them. Beside `train-00000.tar` lies
`train-00000.sums`, a line `crc32 key` per sample, by which damage is traced to a sample.
"""

from __future__ import annotations

import io
import json
import tarfile
import zlib
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

import numpy as np
from PIL import Image
from upath import UPath

from pipelines.files import FileEntry, atomic_file, write_atomic
from vitlens_core.errors import IntegrityError

Sample = dict[str, Any]
_EPOCH_S = 1  # a fixed modification time: the same input gives the same bytes


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
        with path.open("rb") as file, tarfile.open(fileobj=file, mode="r:") as tar:
            for member in members(tar):
                key, _, extension = member.name.partition(".")
                if sample and sample["__key__"] != key:
                    yield sample
                    sample = {}
                sample["__key__"] = key
                if only is not None and extension not in only:
                    continue
                file_in_tar = tar.extractfile(member)
                sample[extension] = file_in_tar.read() if file_in_tar else b""
    except (tarfile.TarError, EOFError) as error:
        last = sample.get("__key__", "none")
        raise IntegrityError(f"{path} is damaged after sample {last}: {error}") from error
    if sample:
        yield sample


def _extensions(sample: Sample) -> list[str]:
    return sorted(sample.keys() - {"__key__"})


def _sums_path(path: UPath) -> UPath:
    return path.with_suffix(".sums")


def members(tar: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    """Members of a tar opened by `r:`, in stored order, up to the mark of its end.

    tarfile takes a damaged header, or none, for the end; a whole tar marks its end.

    Raises:
        tarfile.TarError: the tar is damaged, or has no such mark.
    """
    end = 0
    for member in tar:
        end = member.offset_data + -(-member.size // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE
        yield member
    assert tar.fileobj is not None
    tar.fileobj.seek(end)
    if tar.fileobj.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
        raise tarfile.ReadError("cut short, or its next header is damaged")


def encode_json(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, ensure_ascii=False).encode()


def encode_array(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
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


def decode_array(data: bytes) -> np.ndarray:
    return np.load(io.BytesIO(data), allow_pickle=False)


def decode_png(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)))


def view_names(sample: Sample) -> list[str]:
    """Extensions of a sample's views, in camera order: view99 before view100."""
    names = [name for name in sample if name.startswith("view") and name.endswith(".png")]
    return sorted(names, key=lambda name: (len(name), name))
