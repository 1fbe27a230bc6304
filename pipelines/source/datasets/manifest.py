"""manifest: your own data, listed in a table with one row per recording.

Reads     a CSV (UTF-8, commas) or Parquet file in the folder of the data.
Promises  all mistakes of the table are reported at once, with their rows, before any other file
          is read.
"""

from __future__ import annotations

import codecs
import csv
import io
import math
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any, Literal, cast

import numpy as np
from pydantic import Field, ValidationError, validate_call

from pipelines.source.base import Pair, SourceSettings
from pipelines.store.keys import is_key, plain_key
from pipelines.store.splits import SPLITS, Split
from pipelines.store.words import caption, word
from vitlens_core import caps
from vitlens_core.errors import ConfigError
from vitlens_core.modalities.base import Modality

SEVERAL = "|"
# Spreadsheets write semicolons where the comma is decimal. A text that holds one tells no more
# which of the two divides it, so they are refused by name.
_OTHER_DELIMITERS = {";": "semicolons", "\t": "tabs"}
READING = "reader_options."
TEACHER = "teacher."
COLUMNS = (
    "signal",
    "image",
    "text",
    "label",
    "split",
    "key",
    "group",
    "name",
    "licence",
    "creator",
)
_TOLD = 20  # most mistakes that a message lists
_ROWS_AT_ONCE = 4096
_BYTES_OF_A_CELL = 8
_COLUMNS = 1000  # most columns of a table
_WIDTHS = ""  # key for the numbers of cells of a bad row; no column can have this name

Row = Mapping[str, Any]


class Manifest(SourceSettings):
    """Recordings of any modality, with images, texts or a label, listed in a table.

    Layout: `root` holds the table and the files that it names, each by its path in `root`.

        signal          the recording (needed)
        image, text     its images and captions; several are separated by `|`, or a list in Parquet
        teacher.<name>  recordings for the lens that teaches under this name (`teachers`)
        label           its class
        split           train, val, test, or empty: then the split is made for you
        key             letters, digits, - and _; without this column it is made from `signal`
        group           what must not be in two splits: a person, a scene, a video
        name, licence, creator
        reader_options.<name>  options of the modality's reader, as reader_options.rate_hz; where
                        empty, its default

    A row is a recording. It needs an image, a text, a file for a teacher or a label, and a unique
    key. Rows are counted as in a spreadsheet: the header is row 1. Licence: your own.
    """

    kind: Literal["manifest"] = "manifest"
    table: str = Field("manifest.csv", description="the table in root, .csv or .parquet")

    def pairs(self) -> Iterable[Pair]:
        """The rows in their order. Raises ConfigError with the first 20 mistakes."""
        path = self.place(self.table)
        columns, rows = _table(path)
        _check_columns(columns, path)
        pairs: list[Pair] = []
        mistakes: list[str] = []
        first_row: dict[str, int] = {}
        for number, row in rows:
            pair = _pair(row)
            of_row = _mistakes(row, pair)
            if (first := first_row.setdefault(pair.key, number)) != number and pair.key:
                of_row.append(f"key {pair.key!r} is already that of row {first}")
            mistakes += [f"row {number}: {mistake}" for mistake in of_row]
            pairs.append(pair)
        if mistakes:
            raise ConfigError(_told(mistakes, path))
        if not pairs:
            raise ConfigError(f"{path}: expected rows under the header, found none")
        return pairs

    def read(self, pair: Pair, modality: Modality) -> np.ndarray:
        """The recording, read with the row's options. Raises InputError, ConfigError."""
        return read_with(modality, self.place(pair.signal), pair.reader_options)


def read_with(modality: Modality, path: Path, options: Mapping[str, object]) -> np.ndarray:
    """Call `modality.read(path, **options)` after checking the options against its signature.

    Raises:
        ConfigError: the reader has no such option, or the option has another type.
        InputError: the file cannot be read.
    """
    try:
        return validate_call(modality.read)(path, **options)
    except ValidationError as error:
        wrong = "; ".join(f"{e['loc'][-1]}: {e['msg']}" for e in error.errors())
        hints = modality.read.__annotations__
        takes = [
            f"{name}: {hint}" for name, hint in hints.items() if name not in ("path", "return")
        ]
        raise ConfigError(
            f"the reader of {modality.name} cannot take {dict(options)}: {wrong}. It takes "
            f"{', '.join(takes) or 'no options'}"
        ) from error


def _table(path: Path) -> tuple[list[str], list[tuple[int, Row]]]:
    """Return the names of the columns and the numbered rows; empty CSV lines are skipped."""
    if not path.is_file():
        raise ConfigError(f"source.table: no file {path}; name the table in source.root")
    caps.check_size(path, caps.TABLE_BYTES, "a table")
    try:
        if path.suffix.lower() == ".parquet":
            return _parquet(path)
        if path.suffix.lower() == ".csv":
            return _csv(path)
    except (ValueError, csv.Error) as error:
        raise ConfigError(f"{path} cannot be read as a table: {error}") from error
    raise ConfigError(f"source.table: expected .csv or .parquet, found {path.name}")


def _csv(path: Path) -> tuple[list[str], list[tuple[int, Row]]]:
    """Read a CSV file; `ConfigError` names another delimiter, and a row that is not UTF-8."""
    data = path.read_bytes()
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        row = data.count(b"\n", 0, error.start) + 1
        raise ConfigError(
            f"{path}, row {row}: {_other_encoding(data)}, expected UTF-8; save the table as "
            "`CSV UTF-8`, or convert it with iconv"
        ) from error
    _require_commas(text, path)
    lines = csv.reader(io.StringIO(text, newline=""), strict=True)
    header = next(lines, [])
    numbered = enumerate(lines, start=2)
    return header, [(number, _row(header, cells)) for number, cells in numbered if cells]


def _other_encoding(data: bytes) -> str:
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "found UTF-16"
    return "found bytes of another encoding, as Latin-1 and Windows-1252 have them"


def _require_commas(text: str, path: Path) -> None:
    first = text.partition("\n")[0]
    for delimiter, name in _OTHER_DELIMITERS.items():
        if "signal" in next(csv.reader([first], delimiter=delimiter), []) and delimiter in first:
            raise ConfigError(
                f"{path}: found columns divided by {name}, expected commas; save the table as CSV "
                "with commas, or as Parquet"
            )


def _parquet(path: Path) -> tuple[list[str], list[tuple[int, Row]]]:
    """Read a Parquet file in batches; dictionaries and runs may unpack to many times its size."""
    import pyarrow.parquet  # late: settings are checked without it

    rows: list[tuple[int, Row]] = []
    unpacked = 0
    with pyarrow.parquet.ParquetFile(path) as file:
        for batch in file.iter_batches(batch_size=_ROWS_AT_ONCE):
            # As Python objects: a value that Parquet stores once is there in every row.
            unpacked += batch.nbytes + batch.num_rows * batch.num_columns * _BYTES_OF_A_CELL
            if unpacked > caps.TABLE_BYTES:
                raise ConfigError(
                    f"{path} unpacks to more than {caps.TABLE_BYTES:,} bytes at row {len(rows)}; "
                    "divide the table"
                )
            rows += enumerate(batch.to_pylist(), start=2 + len(rows))
        return file.schema_arrow.names, rows


def _row(header: list[str], cells: list[str]) -> Row:
    row: dict[str, object] = dict(zip(header, cells, strict=False))
    return row if len(cells) == len(header) else row | {_WIDTHS: (len(cells), len(header))}


def _check_columns(columns: list[str], path: Path) -> None:
    if len(columns) > _COLUMNS:
        raise ConfigError(f"{path}: {len(columns):,} columns; expected up to {_COLUMNS:,}")
    takes = f"it takes {', '.join(COLUMNS)}, {TEACHER}<name> and {READING}<name>"
    if "signal" not in columns:
        raise ConfigError(f"{path}: no column signal, found {', '.join(columns)}; {takes}")
    named = (READING, TEACHER)
    unknown = [name for name in columns if name not in COLUMNS and not name.startswith(named)]
    if unknown:
        raise ConfigError(f"{path}: unknown columns {', '.join(map(repr, unknown))}; {takes}")
    if twice := sorted({name for name in columns if columns.count(name) > 1}):
        raise ConfigError(f"{path}: columns that occur twice: {', '.join(twice)}")
    taught = any(name.startswith(TEACHER) for name in columns)
    if not taught and not {"image", "text", "label"} & set(columns):
        raise ConfigError(
            f"{path}: expected a column image, text, {TEACHER}<name> or label; {takes}"
        )


def _pair(row: Row) -> Pair:
    """Make the pair of a row, without checking it."""
    signal = _text(row, "signal")
    made_key = plain_key(str(PurePosixPath(signal).with_suffix(""))) if signal else ""
    return Pair(
        key=_text(row, "key") if "key" in row else made_key,
        signal=signal,
        reader_options={
            name.removeprefix(READING): _value(value)
            for name, value in row.items()
            if name.startswith(READING) and _is_stated(value)
        },
        images=_several(row.get("image")),
        texts=_several(row.get("text")),
        teachers={
            name.removeprefix(TEACHER): files
            for name, value in row.items()
            if name.startswith(TEACHER) and (files := _several(value))
        },
        label=_text(row, "label") or None,
        split=cast(Split, _text(row, "split")) or None,
        group=_text(row, "group"),
        name=_text(row, "name"),
        licence=_text(row, "licence") or None,
        creator=_text(row, "creator") or None,
    )


def _mistakes(row: Row, pair: Pair) -> list[str]:
    mistakes: list[str] = []
    if _WIDTHS in row:
        mistakes.append("found {} cells under a header of {}".format(*row[_WIDTHS]))
    mistakes += _no_words(row)
    if not pair.signal:
        mistakes.append("no signal")
    if not (pair.images or pair.texts or pair.teachers or pair.label):
        mistakes.append("expected an image, a text, a file for a teacher or a label, found none")
    if pair.split not in (None, *SPLITS):
        mistakes.append(f"split {pair.split!r} is none of {', '.join(SPLITS)}")
    if not is_key(pair.key) and (pair.key or "key" in row):
        mistakes.append(f"key {pair.key!r}: expected letters, digits, - and _")
    mistakes += [
        f"{path!r}: expected a path in the folder of the data"
        for path in pair.files
        if "\0" in path or PurePosixPath(path).is_absolute() or ".." in PurePosixPath(path).parts
    ]
    return mistakes


def _no_words(row: Row) -> Iterator[str]:
    """Yield the cells that hold a list or an object where a word is expected."""
    for name, value in row.items():
        several = name in ("image", "text") or name.startswith(TEACHER)
        cells = value if several and isinstance(value, list) else [value]
        if not name or name.startswith(READING):
            continue
        for cell in cells:
            try:
                word(cell)
            except ValueError as error:
                yield f"{name}: {error}"


def _told(mistakes: list[str], path: Path) -> str:
    more = f"\n  and {len(mistakes) - _TOLD} more" if len(mistakes) > _TOLD else ""
    lines = "".join(f"\n  {mistake}" for mistake in mistakes[:_TOLD])
    count = f"{len(mistakes)} mistake{'s' if len(mistakes) > 1 else ''}"
    return f"{path}: {count} (the header is row 1):{lines}{more}"


def _text(row: Row, name: str) -> str:
    """Return a word of a row; what is none is told by `_mistakes`."""
    try:
        return word(row.get(name))
    except ValueError:
        return ""


def _several(value: object) -> tuple[str, ...]:
    parts = value.split(SEVERAL) if isinstance(value, str) else value
    parts = parts if isinstance(parts, list) else [parts]
    try:
        return tuple(text for part in parts if (text := caption(part)))
    except ValueError:
        return ()


def _is_stated(value: object) -> bool:
    return value is not None and value != "" and value == value  # NaN is not equal to itself


def _value(value: object) -> object:
    """Convert a CSV's cell to the number or truth value that it spells, if it spells one."""
    if not isinstance(value, str):
        return value
    try:
        spelt = caps.parse_json(value)
    except ValueError:
        return value
    # `json` also reads NaN and Infinity; they stay texts.
    is_number = isinstance(spelt, int | float) and math.isfinite(spelt)
    return spelt if is_number else value
