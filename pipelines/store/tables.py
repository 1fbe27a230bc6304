"""tables: reads the rows of a CSV, TSV, JSON, JSON Lines or Parquet file one after the other.

Reads     CSV and TSV in UTF-8 (a first line of names unless they are given), JSON (a list of
          objects, or an object by key), JSON Lines, Parquet; all but Parquet also gzip-compressed.
Promises  memory holds a few thousand rows, whatever the size of the file; what is wrong is told
          with the file and the row.
"""

from __future__ import annotations

import csv
import gzip
import io
import zlib
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import ijson

from vitlens_core import caps
from vitlens_core.errors import ConfigError

ENDINGS = (".csv", ".tsv", ".json", ".jsonl", ".parquet")
VALUE = "text"
"""Name of the value where a JSON object has no objects as values: {uid: text}."""

_ROWS_AT_ONCE = 4096
_HEAD_BYTES = 4096
_BOM = b"\xef\xbb\xbf"  # which some editors put first

Row = Mapping[str, object]


def rows(
    path: Path, key: str = "key", names: Sequence[str] | None = None
) -> Iterator[tuple[int, Row]]:
    """Yield the numbered rows of a table; in a file with a line of names the first is row 2.

    Args:
        key: name under which a row of a JSON object has its key.
        names: the columns of a CSV or TSV without a line of names.

    Raises:
        ConfigError: no such file, another format, or a row that cannot be read.
    """
    if not path.is_file():
        raise ConfigError(f"no table {path}; name a file in {', '.join(ENDINGS)}")
    caps.check_size(path, caps.ANNOTATION_BYTES, "a table")
    packed = path.suffix.lower() == ".gz"
    ending = Path(path.stem).suffix.lower() if packed else path.suffix.lower()
    with _in_format(path):
        if ending == ".parquet" and not packed:
            yield from _of_parquet(path)
            return
        with _opened(path, packed=packed) as file:
            if ending in (".csv", ".tsv"):
                yield from _of_csv(path, file, "," if ending == ".csv" else "\t", names)
            elif ending == ".jsonl":
                yield from _of_lines(file)
            elif ending == ".json":
                yield from _of_json(file, key)
            else:
                raise ConfigError(f"{path}: expected a table in {', '.join(ENDINGS)}")


@contextmanager
def _in_format(path: Path) -> Generator[None]:
    try:
        yield
    except (
        OSError,
        EOFError,
        zlib.error,
        ijson.JSONError,
        csv.Error,
        ValueError,
        TypeError,
    ) as error:
        raise ConfigError(f"{path} cannot be read as a table: {error}") from error


@contextmanager
def _opened(path: Path, *, packed: bool) -> Generator[io.BufferedReader[Any]]:
    if not packed:
        with path.open("rb") as file:
            yield file
        return
    with path.open("rb") as file:
        is_gzip = file.read(2) == b"\x1f\x8b"
    if not is_gzip:
        raise gzip.BadGzipFile("no gzip file")
    with caps.Gunzipped(path) as unpacked, io.BufferedReader(unpacked) as file:
        yield file


def _of_csv(
    path: Path, file: BinaryIO, delimiter: str, names: Sequence[str] | None
) -> Iterator[tuple[int, Row]]:
    text = io.TextIOWrapper(file, "utf-8-sig", newline="")
    lines = csv.reader(text, delimiter=delimiter, strict=True)
    first = 1
    if names is None:
        names, first = next(lines, []), 2
    if repeated := sorted({name for name in names if names.count(name) > 1}):
        raise ConfigError(f"{path}: columns that occur twice: {', '.join(repeated)}")
    for number, cells in enumerate(lines, first):
        if not cells:
            continue
        if len(cells) != len(names):
            raise ConfigError(
                f"{path}, row {number}: expected {len(names)} cells ({', '.join(names)}), "
                f"found {len(cells)}"
            )
        yield number, dict(zip(names, cells, strict=True))


def _of_lines(file: BinaryIO) -> Iterator[tuple[int, Row]]:
    for number, line in enumerate(file, 1):
        if line.strip():
            yield number, _object(caps.parse_json(line), number)


def _of_json(file: io.BufferedReader[Any], key: str) -> Iterator[tuple[int, Row]]:
    if file.peek(len(_BOM)).startswith(_BOM):
        file.read(len(_BOM))
    head = file.peek(_HEAD_BYTES).lstrip()[:1]
    # Other JSON gives ijson no rows, and no error.
    if head == b"[":
        for number, value in enumerate(ijson.items(file, "item", use_float=True), 1):
            yield number, _object(value, number)
    elif head == b"{":
        for number, (name, value) in enumerate(ijson.kvitems(file, "", use_float=True), 1):
            yield number, {key: name, **(value if isinstance(value, dict) else {VALUE: value})}
    else:
        raise ValueError("expected a JSON list of objects, or an object")


def _object(value: object, number: int) -> Row:
    if not isinstance(value, dict):
        raise ValueError(f"row {number}: expected an object, found {type(value).__name__}")
    return value


def _of_parquet(path: Path) -> Iterator[tuple[int, Row]]:
    import pyarrow.parquet  # late: other tables are read without it

    number = 2
    with pyarrow.parquet.ParquetFile(path) as file:
        for batch in file.iter_batches(batch_size=_ROWS_AT_ONCE):
            # A value that Parquet stores once may be there in every row.
            if batch.nbytes > caps.TABLE_BYTES:
                raise ConfigError(f"{path}: {_ROWS_AT_ONCE} rows unpack to {batch.nbytes:,} bytes")
            for row in batch.to_pylist():
                yield number, row
                number += 1
