"""Arrays of numbers: .npy, .npz, and tables with one sample per line.

Reads     a path.
Promises  it runs nothing that is pickled; the caller checks shape and values.
"""

from __future__ import annotations

import re
import tokenize
import warnings
import zlib
from dataclasses import dataclass
from pathlib import Path
from zipfile import BadZipFile

import numpy as np

from vitlens_core.errors import InputError
from vitlens_core.readers.files import unreadable
from vitlens_core.readers.formats import ARRAYS, TABLE, identify

# What damaged files raise: numpy's and the archive's own, and those of the parsers below them.
_BROKEN = (ValueError, OSError, EOFError, KeyError, NotImplementedError, OverflowError)
_BROKEN += (BadZipFile, zlib.error, tokenize.TokenError)
_SEPARATORS = (";", "\t", ",")  # of cells; in this order, since decimals may be written 1,5


@dataclass(frozen=True)
class Table:
    """Numbers in lines and columns.

    Attributes:
        names: the column names of its first line; None if that holds numbers.
        values: float64 [lines, columns].
    """

    names: tuple[str, ...] | None
    values: np.ndarray


def read_array(path: str | Path) -> np.ndarray:
    """Read the array of a file as stored; a table becomes [lines, columns] of float64.

    Raises:
        InputError: the file is missing, damaged or pickled, has a header, or is an .npz of not
            exactly one array.
    """
    path, content = identify(path, ARRAYS, "an array of numbers")
    if content is TABLE:
        table = read_table(path)
        if table.names:
            raise InputError(
                f"{path}: its first line is a header ({', '.join(table.names)}); expected numbers "
                "alone. Delete the line, or put # before it"
            )
        return table.values
    arrays = read_arrays(path)
    if len(arrays) != 1:
        raise InputError(
            f"expected one array in {path}, found {len(arrays)}: "
            f"{', '.join(list(arrays)[:5])}. Save the one you mean as .npy"
        )
    return next(iter(arrays.values()))


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """Read every array of an .npz by name, or that of an .npy, which has no name.

    Raises:
        InputError: the file is damaged, or holds pickled objects.
    """
    try:
        content = np.load(path, allow_pickle=False)
        if isinstance(content, np.ndarray):
            return {"": content}
        with content:
            return {name: content[name] for name in content.files}
    except _BROKEN as error:
        raise unreadable(path, "an array of numbers", error) from error


def read_table(path: Path) -> Table:
    """Read a table of numbers; the first line may name the columns.

    Cells are separated by commas, semicolons, tabs or blanks. Lines that begin with # are ignored.

    Raises:
        InputError: a cell is no number, lines differ in length, or there is no line.
    """
    try:
        text = path.read_text("utf-8-sig")
    except UnicodeDecodeError as error:
        raise unreadable(path, "a table of numbers in UTF-8", error) from error
    lines = [line for line in text.splitlines() if line.strip() and line.lstrip()[0] != "#"]
    if not lines:
        raise InputError(f"expected a table of numbers, found no line in {path}")
    separator = next((one for one in _SEPARATORS if one in lines[0]), None)
    header = [cell.strip().strip("\"'") for cell in lines[0].split(separator)]
    named = not any(map(_is_number, header))
    return Table(tuple(header) if named else None, _numbers(path, lines[named:], separator))


def _numbers(path: Path, lines: list[str], separator: str | None) -> np.ndarray:
    if separator != ",":
        lines = [line.replace(",", ".") for line in lines]
    if not lines:
        raise InputError(f"expected a table of numbers, found a header alone in {path}")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            return np.loadtxt(lines, delimiter=separator, ndmin=2)
        except (ValueError, UserWarning) as error:
            raise unreadable(path, "a table of numbers", error) from error


def _is_number(cell: str) -> bool:
    return (
        re.fullmatch(
            r"[-+]?(?:\d+[.,]?\d*|[.,]\d+)(?:[eE][-+]?\d+)?|nan|[-+]?inf",
            cell.strip(),
            re.IGNORECASE,
        )
        is not None
    )
