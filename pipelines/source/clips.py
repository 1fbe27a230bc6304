"""clips: helpers for sources of recorded sound: CSV rows, names of clips, frames of videos.

Reads     a data set's own CSVs; the names in its folder of frames.
Promises  a list that differs from its published form is refused with its file and line.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator

from pipelines.store.keys import LONGEST_KEY, plain_key
from vitlens_core import caps
from vitlens_core.errors import ConfigError

FRAMES = "images"
_YOUTUBE_ID = re.compile(r"[A-Za-z0-9_-]{11}")


def _checked_template(template: str) -> str:
    """Refuse a template that does not give every clip a file of its own."""
    try:
        names = {
            template.format(split=split, youtube_id=youtube_id, start=start)
            for split, youtube_id, start in (("test", "a", 1), ("test", "b", 1))
        }
    except (KeyError, IndexError, ValueError) as error:
        raise ValueError(f"knows {{split}}, {{youtube_id}} and {{start}} only: {error}") from error
    if len(names) < 2 or any(name.startswith("/") for name in names):
        raise ValueError("expected a path relative to root that holds {youtube_id}")
    return template


ClipTemplate = Annotated[str, AfterValidator(_checked_template)]
"""Path of a clip relative to root; {split}, {youtube_id} and {start} (seconds) are filled in."""


def read_rows(
    path: Path, columns: Sequence[str], *, header: bool = True, encoding: str = "utf-8-sig"
) -> Iterator[tuple[str, dict[str, str]]]:
    """Yield the rows of a CSV by column name, each with its place ("…/train.csv, line 7").

    Args:
        columns: the columns needed; a file with a header may have more.
        header: False if the file's first line is a row.

    Raises:
        ConfigError: no such file, not UTF-8, no row, or a missing column or cell.
    """
    if not path.is_file():
        raise ConfigError(f"source.root: no file {path}, a list of the data set")
    caps.check_size(path, caps.LIST_BYTES, "a list of the data set")
    with path.open(encoding=encoding, newline="") as file:
        reader = csv.reader(file, strict=True)
        try:
            names = next(reader, []) if header else list(columns)
            if missing := [column for column in columns if column not in names]:
                raise ConfigError(
                    f"{path}: expected the columns {', '.join(columns)}, found "
                    f"{', '.join(names) or 'an empty file'}; {', '.join(missing)} missing"
                )
            where = ""
            for cells in filter(None, reader):  # skips blank lines
                where = f"{path}, line {reader.line_num}"
                if len(cells) != len(names):
                    raise ConfigError(
                        f"{where}: expected {len(names)} cells ({', '.join(names)}), "
                        f"found {len(cells)}"
                    )
                yield where, dict(zip(names, cells, strict=True))
            if not where:
                raise ConfigError(f"{path} has no row")
        except (csv.Error, UnicodeDecodeError) as error:
            raise ConfigError(
                f"{path}, after line {reader.line_num}: expected CSV in UTF-8: {error}"
            ) from error


def take_note(seen: dict[str, str], name: str, where: str) -> None:
    """Note the place of `name` (`ConfigError`: the name occurred before)."""
    if name in seen:
        raise ConfigError(f"{where}: {name!r} a second time, after {seen[name]}; remove one")
    seen[name] = where


def checked_youtube_id(text: str, where: str) -> str:
    """Return a YouTube id (`ConfigError`: it is none)."""
    # Checked, since spreadsheets turn ids that start with - or = into formulas.
    if not _YOUTUBE_ID.fullmatch(text):
        raise ConfigError(f"{where}: expected a YouTube id of 11 characters, found {text!r}")
    return text


def whole_number(text: str, where: str, what: str) -> int:
    """Parse a whole number from 0 (`ConfigError`: it is none)."""
    if not (text.isascii() and text.isdigit()):
        raise ConfigError(f"{where}: expected {what}, a whole number, found {text!r}")
    return int(text)


def key_of(name: str) -> str:
    """Make a pair's key from a file's name; a name that is no valid key gets a digest of itself."""
    plain = plain_key(name)
    if plain == name or not name.isascii() or len(name) > LONGEST_KEY:
        return plain
    return plain_key(f"{plain}-{sha256(name.encode()).hexdigest()[:8]}")


class MidFrames:
    """The optional middle frames of videos, `images/<stem of the clip>.jpg`."""

    def __init__(self, root: Path) -> None:
        self._stems = {path.stem for path in (root / FRAMES).glob("*.jpg")}

    def of(self, clip: str) -> tuple[str, ...]:
        """Return the images of a clip's pair, relative to root."""
        stem = Path(clip).stem
        return (f"{FRAMES}/{stem}.jpg",) if stem in self._stems else ()
