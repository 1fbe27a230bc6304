"""Arrays of numbers: .npy, .npz with one array, .csv with one sample per line.

Reads     a path.
Promises  it opens nothing that is pickled; the caller checks shape and values.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from zipfile import BadZipFile

import numpy as np

from vitlens_core.errors import InputError
from vitlens_core.readers.files import existing, unreadable

ENDINGS = frozenset({".npy", ".npz", ".csv"})


def read_array(path: str | Path) -> np.ndarray:
    """Read the array of a file as stored; a CSV becomes [lines, columns] of float64.

    Raises:
        InputError: the file is missing, damaged or pickled, or an .npz of not exactly one array.
    """
    path = existing(path, ENDINGS, "an array of numbers")
    try:
        if path.suffix.lower() == ".csv":
            return _read_csv(path)
        content = np.load(path, allow_pickle=False)
    except (ValueError, OSError, EOFError, BadZipFile) as error:
        raise unreadable(path, "an array of numbers", error) from error
    if isinstance(content, np.ndarray):
        return content
    with content:
        if len(content.files) != 1:
            raise InputError(
                f"expected one array in {path}, found {len(content.files)}: "
                f"{', '.join(content.files[:5])}. Save the one you mean as .npy"
            )
        return content[content.files[0]]


def _read_csv(path: Path) -> np.ndarray:
    """Read numbers separated by commas; lines that start with # are ignored."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # for a file without numbers numpy only warns
        try:
            return np.loadtxt(path, delimiter=",", ndmin=2)
        except UserWarning as error:
            raise ValueError("it holds no numbers") from error
