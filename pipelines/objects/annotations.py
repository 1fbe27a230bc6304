"""annotations: reads Objaverse's annotation files as streams, as there are 800,000 objects.

Reads     object-paths.json.gz ({uid: path}), lvis-annotations.json.gz ({class: [uid]}) and
          metadata/NNN-NNN.json.gz ({uid: annotation}, some 5,000 objects each).
Promises  the same contents as the `objaverse` package, which loads every file whole, and the
          object paths again whenever it reads metadata.
"""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Collection, Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ijson

from vitlens_core import caps
from vitlens_core.errors import ConfigError

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer as Buffer

_DEPTH = 1000


def labels(path: Path) -> dict[str, str]:
    """Return the LVIS class of every labelled object, by uid (`ConfigError`: another format).

    An object listed under several classes gets the alphabetically first. Some 46,000 of
    Objaverse's 800,000 objects are labelled, so a dictionary is small.
    """
    with _in_format(path):
        listed = {label: list(members) for label, members in _members(path)}
        # In reverse, so that the alphabetically first class is written last.
        return {uid: label for label in sorted(listed, reverse=True) for uid in listed[label]}


def object_paths(path: Path) -> Iterator[tuple[str, str]]:
    """Yield uid and path of every object, in file order (`ConfigError`: another format)."""
    for uid, place in _members(path):
        yield uid, str(place)


def metadata(path: Path, uids: Collection[str]) -> dict[str, object]:
    """Return the annotations of a part for the `uids` in it (`ConfigError`: another format)."""
    with _in_format(path):
        with caps.Gunzipped(path, caps.PART_BYTES) as file:
            annotations = caps.parse_json(file.read())
        if not isinstance(annotations, dict):
            raise ValueError("no JSON object")
        return {uid: annotations[uid] for uid in uids if uid in annotations}


def _members(path: Path) -> Iterator[tuple[str, Any]]:
    """Yield the keys and values of a JSON object, one at a time."""
    with _in_format(path), io.BufferedReader(_Flat(path)) as file:
        if not file.peek(1).startswith(b"{"):  # ijson yields nothing for other JSON, and no error
            raise ValueError("no JSON object")
        # use_float: without it, a number of 5,000 digits ends this process in ijson's C code.
        yield from ijson.kvitems(file, "", use_float=True)


class _Flat(caps.Gunzipped):
    """The content of a gzip file whose JSON is nested little: ijson's time grows with its square.

    Raises:
        ValueError (when read): more lists and objects are open than any annotation has.
    """

    _open = 0

    def readinto(self, buffer: Buffer) -> int:
        count = super().readinto(buffer)
        read = bytes(memoryview(buffer)[:count])
        # Brackets in texts count too, so that the bound is far above the depth of 3.
        self._open += sum(map(read.count, (b"[", b"{"))) - sum(map(read.count, (b"]", b"}")))
        if self._open > _DEPTH:
            raise ValueError("its lists or objects are nested too deep")
        return count


@contextmanager
def _in_format(path: Path) -> Generator[None]:
    """Turn any error of parsing into a `ConfigError`: the mirror is wrong."""
    try:
        yield
    except (
        gzip.BadGzipFile,
        EOFError,
        zlib.error,
        ijson.JSONError,
        ValueError,
        TypeError,
    ) as error:
        raise ConfigError(
            f"{path} is not in Objaverse's format (a gzip-compressed JSON object): "
            f"{error}. Fetch it again from the mirror's source"
        ) from error
