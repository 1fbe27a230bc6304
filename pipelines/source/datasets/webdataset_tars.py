"""webdataset_tars: recordings of any modality in WebDataset tars, with images, captions and labels.

Reads     the headers and the small texts of every tar once, to index them; later single files by
          their place in the tar.
Promises  no tar is searched again when a pair is read; a tar that is cut short is refused.
"""

from __future__ import annotations

import re
import tarfile
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import Field, model_validator

from pipelines.source.base import Incomplete, Pair, SourceSettings
from pipelines.source.datasets.manifest import read_with
from pipelines.store.keys import plain_key
from pipelines.store.splits import Split
from pipelines.store.words import caption, word
from vitlens_core import caps
from vitlens_core.confinement import resolve_inside
from vitlens_core.errors import ConfigError, InputError
from vitlens_core.modalities.base import Modality
from vitlens_core.readers.pictures import read_rgb
from vitlens_core.scratch import Scratch

TEXT, CLASS, DETAILS = "txt", "cls", "json"
_NAME = re.compile(r"((?:.*/)?[^./]+)\.([^/]+)")

Place = list[Any]
"""Offset and size in the tar in bytes, and the file's ending: plain JSON."""


class _BadSampleError(Exception):
    """One sample is wrong; its tar is not."""


@dataclass
class Sample:
    """Files of one name that lie side by side in a tar."""

    name: str
    places: dict[str, Place] = field(default_factory=dict)
    texts: dict[str, str] = field(default_factory=dict)
    mistake: str = ""


class WebdatasetTars(SourceSettings):
    """Tars as webdataset writes them, uncompressed.

    Layout: files with one name up to its first dot are a sample and lie side by side:

        <root>/train-000000.tar
            sample0001.wav      the recording: the ending named by `signal`
            sample0001.jpg      images, any number: endings whose last part is in `pictures`
            sample0001.txt      captions, one per line
            sample0001.cls      its class in words, or a number in `classes`
            sample0001.json     {"label": …, "group": …}: class (without .cls), and what must not
                                be in two splits

    Other endings, folders and names like __meta__ are skipped. A sample needs the recording, and
    an image, a caption or a class. Licence: your own. Source:
    github.com/webdataset/webdataset.
    """

    kind: Literal["webdataset_tars"] = "webdataset_tars"
    signal: str = Field("wav", min_length=1, description="ending of the recording")
    pictures: tuple[str, ...] = Field(("jpg", "jpeg", "png"), description="endings of images")
    train: tuple[str, ...] = Field((), description="globs in root of the training tars")
    val: tuple[str, ...] = Field((), description="globs of the validation tars")
    test: tuple[str, ...] = Field((), description="globs of the test tars")
    unsplit: tuple[str, ...] = Field((), description="globs of tars that are split for you")
    classes: tuple[str, ...] = Field((), description="names of the numbers in .cls, in order")
    reader_options: dict[str, float | int | bool | str] = Field(
        default_factory=dict, description="options of the modality's reader, for every recording"
    )

    @model_validator(mode="after")
    def _names_tars(self) -> WebdatasetTars:
        if not any((self.train, self.val, self.test, self.unsplit)):
            raise ValueError("name the tars by globs in train, val, test or unsplit")
        return self

    def pairs(self) -> Iterator[Pair | Incomplete]:
        """Samples by side, tar and place; those without a recording are incomplete.

        Raises:
            ConfigError: a tar is damaged, or its samples contradict each other.
        """
        folder = self.folder()
        seen: dict[str, str] = {}
        for path, side in self._tars(folder).items():
            tar = path.relative_to(folder).as_posix()
            for sample in _samples(path):
                pair = self._pair(tar, sample, side)
                if pair.key in seen:
                    raise ConfigError(
                        f"{path}: sample {sample.name} has the key {pair.key}, as has "
                        f"{seen[pair.key]}; files of a sample must lie side by side"
                    )
                seen[pair.key] = f"{tar}, sample {sample.name}"
                yield pair

    def read(self, pair: Pair, modality: Modality) -> np.ndarray:
        """The recording. Raises InputError, ConfigError: an option that its reader lacks."""
        with self._file(pair.signal, pair.reader_options["signal"]) as path:
            return read_with(modality, path, self.reader_options)

    def images(self, pair: Pair) -> list[np.ndarray]:
        """Its images, uint8 RGB [H, W, 3] each. Raises InputError."""
        read: list[np.ndarray] = []
        for tar, place in zip(pair.images, pair.reader_options["images"], strict=True):
            with self._file(tar, place) as path:
                read.append(read_rgb(path))
        return read

    def lay_out(self, pair: Pair, inbox: Path) -> list[Path]:
        """Copy the pair's files out of its tar. Raises InputError: the tar is cut short."""
        places = [pair.reader_options["signal"], *pair.reader_options["images"]]
        copies = []
        for name, place in zip(pair.files, places, strict=True):
            copies.append(_copy_in(inbox, place))
            copies[-1].write_bytes(_content(self.place(name), place))
        return copies

    @contextmanager
    def _file(self, tar: str, place: Place) -> Generator[Path]:
        """Show a file of a tar as a file of its own; `lay_out` may have made it."""
        if self._inbox is not None:
            yield _copy_in(self._inbox, place)
            return
        with Scratch("tar") as folder:
            file = _copy_in(folder, place)
            file.write_bytes(_content(self.place(tar), place))
            yield file

    def _tars(self, folder: Path) -> dict[Path, Split | None]:
        tars: dict[Path, Split | None] = {}
        sides: dict[Split | None, tuple[str, ...]] = {
            "train": self.train,
            "val": self.val,
            "test": self.test,
            None: self.unsplit,
        }
        for side, globs in sides.items():
            for glob in globs:
                is_inside = glob and not glob.startswith("/") and ".." not in Path(glob).parts
                matches = sorted(folder.glob(glob)) if is_inside else []
                if not matches:
                    raise ConfigError(f"source.{side or 'unsplit'}: no tar {glob!r} in {folder}")
                if twice := [path for path in matches if tars.get(path, side) != side]:
                    raise ConfigError(
                        f"source.{side or 'unsplit'}: {glob!r} takes {twice[0].name}, which is "
                        f"already in {tars[twice[0]] or 'unsplit'}"
                    )
                tars |= dict.fromkeys(matches, side)
        return tars

    def _pair(self, tar: str, sample: Sample, side: Split | None) -> Pair | Incomplete:
        where = f"{tar}, sample {sample.name}"
        key = plain_key(f"{tar.removesuffix('.tar')}-{sample.name}")
        signal = self.signal.lower()
        if signal not in sample.places:
            return Incomplete(
                key,
                f"{where}: no .{signal}, found {', '.join(sorted(sample.places))}; a download "
                "failed, or source.signal is not the ending of the recordings",
            )
        try:
            return self._complete(key, tar, sample, side)
        except _BadSampleError as error:
            return Incomplete(key, f"{where}: {error}")

    def _complete(self, key: str, tar: str, sample: Sample, side: Split | None) -> Pair:
        """Make the pair of a sample with a recording (`_BadSampleError`: it is wrong)."""
        if sample.mistake:
            raise _BadSampleError(sample.mistake)
        signal, where = self.signal.lower(), f"{tar}, sample {sample.name}"
        images = [
            sample.places[ending]
            for ending in sorted(sample.places)
            if ending != signal and _last(ending) in self.pictures
        ]
        texts = tuple(filter(None, map(caption, sample.texts.get(TEXT, "").splitlines())))
        details = _details(sample)
        label = self._label(sample, details, where)
        if not (images or texts or label):
            raise _BadSampleError("expected an image, a caption or a class, found none")
        return Pair(
            key=key,
            signal=tar,
            reader_options={"signal": sample.places[signal], "images": images},
            images=(tar,) * len(images),
            texts=texts,
            label=label,
            split=side,
            group=_word(details, "group"),
            name=sample.name,
        )

    def _label(self, sample: Sample, details: dict[str, object], where: str) -> str | None:
        stated = word(sample.texts.get(CLASS, "")) or _word(details, "label")
        if not stated.isdigit():
            return stated or None
        if int(stated) >= len(self.classes):
            raise ConfigError(
                f"{where}: class {stated}, but source.classes names {len(self.classes)}, counted "
                "from 0; name them all, in order"
            )
        return self.classes[int(stated)]


def _details(sample: Sample) -> dict[str, object]:
    try:
        details = caps.parse_json(sample.texts.get(DETAILS, "{}"))
    except ValueError as error:
        raise _BadSampleError(f"its .json is not JSON: {error}") from error
    if not isinstance(details, dict):
        raise _BadSampleError(f"expected an object in .json, found {type(details).__name__}")
    return details


def _word(details: dict[str, object], name: str) -> str:
    try:
        return word(details.get(name))
    except ValueError as error:
        raise _BadSampleError(f"its .json has {name}: {error}") from error


def _samples(path: Path) -> Iterator[Sample]:
    """The samples of one tar, in stored order."""
    sample = Sample("")
    try:
        with path.open("rb") as file, tarfile.open(fileobj=file, mode="r:") as tar:
            for member in _members(tar):
                match = _NAME.fullmatch(member.name)
                if not member.isfile() or match is None or _is_meta(member.name):
                    continue
                if member.issparse():
                    raise ConfigError(f"{path}: {member.name} is sparse; pack the tar without -S")
                # In lower case, as the webdataset library reads them.
                name, ending = match[1], match[2].lower()
                if name != sample.name:
                    if sample.places:
                        yield sample
                    sample = Sample(name)
                if ending in sample.places:
                    raise ConfigError(f"{path}: sample {name} has two files .{ending}")
                sample.places[ending] = [member.offset_data, member.size, _last(ending)]
                if ending in (TEXT, CLASS, DETAILS):
                    _take_text(sample, ending, tar, member)
    except (tarfile.TarError, EOFError) as error:
        raise ConfigError(
            f"{path} cannot be read as an uncompressed tar after sample {sample.name or 'none'}: "
            f"{error}"
        ) from error
    if sample.places:
        yield sample


def _take_text(sample: Sample, ending: str, tar: tarfile.TarFile, member: tarfile.TarInfo) -> None:
    if member.size > caps.TEXT_BYTES:
        sample.mistake = (
            f"its .{ending} has {member.size:,} bytes; expected up to {caps.TEXT_BYTES:,}"
        )
        return
    content = tar.extractfile(member)
    assert content is not None, "a file has content"
    try:
        sample.texts[ending] = content.read(caps.TEXT_BYTES).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        sample.mistake = f"its .{ending} is no UTF-8 text: {error}"


def _is_meta(name: str) -> bool:
    return name.startswith("__") and name.endswith("__")


def _last(ending: str) -> str:
    return ending.rpartition(".")[2].lower()


def _copy_in(inbox: Path, place: Place) -> Path:
    offset, _, ending = place
    return resolve_inside(inbox, f"{offset}.{ending}")


def _content(tar: Path, place: Place) -> bytes:
    """Read a file of a tar (`InputError`: the tar ends before)."""
    offset, size, _ = place
    try:
        with tar.open("rb") as file:
            file.seek(offset)
            content = file.read(min(size, tar.stat().st_size))
    except OSError as error:
        raise InputError(f"{tar} cannot be read: {error}") from error
    if len(content) != size:
        raise InputError(f"expected {size} bytes at {offset} of {tar}, found {len(content)}")
    return content


def _members(tar: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    """Yield the members of a tar opened by `r:`, in stored order, up to its end mark.

    tarfile takes a damaged or missing header for the end, so the end mark is checked here.

    Raises:
        tarfile.TarError: the tar is damaged, or has no end mark.
    """
    end = 0
    for member in tar:
        end = member.offset_data + -(-member.size // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE
        yield member
    assert tar.fileobj is not None
    tar.fileobj.seek(end)
    if tar.fileobj.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
        raise tarfile.ReadError("cut short, or its next header is damaged")
