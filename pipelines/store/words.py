"""words: reads classes, groups and captions from cells and JSON, where a missing value is none.

A missing value has many spellings: null in JSON, NaN in Parquet and in Python, and what pandas
writes for it in CSV. None of them becomes a class, a group or a caption.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable

# What pandas reads as missing, and writes if told so.
_MISSING = frozenset(
    (
        "",
        "#N/A",
        "#N/A N/A",
        "#NA",
        "-1.#IND",
        "-1.#QNAN",
        "-NaN",
        "-nan",
        "1.#IND",
        "1.#QNAN",
        "<NA>",
        "N/A",
        "NA",
        "NULL",
        "NaN",
        "NaT",
        "None",
        "n/a",
        "nan",
        "null",
    )
)


def word(value: object) -> str:
    """Return the word or number of a cell as text; empty if it is missing.

    An integer is the same whether its column had holes (3.0) or not (3).

    Raises:
        ValueError: a list, an object or bytes, which are no word.
    """
    if value is None:
        return ""
    if isinstance(value, float):
        if math.isnan(value):
            return ""
        return str(int(value)) if value.is_integer() else str(value)
    if not isinstance(value, str | int):
        raise ValueError(f"expected a word, found {type(value).__name__} {value!r:.40}")
    text = str(value).strip()
    if text in _MISSING:
        return ""
    return text[:-2] if re.fullmatch(r"-?\d+\.0", text) else text


def words(values: Iterable[object]) -> tuple[str, ...]:
    """Return the words of a list in their order, without missing ones (`ValueError`)."""
    return tuple(text for value in values if (text := word(value)))


def caption(value: object) -> str:
    """Return a caption as it is; empty if it is missing (`ValueError`: no text)."""
    if isinstance(value, str):
        text = value.strip()
        return "" if text in _MISSING else text
    return word(value)
