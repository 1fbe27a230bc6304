"""facts: what a table states of the objects of a folder: classes, captions, names, licences.

Reads     a table with a row per object, which it names by file or by uid.
Promises  a table that fits no object, or whose rows contradict each other, is refused.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from pipelines.objects.layouts import Found
from pipelines.store.tables import Row, rows
from pipelines.store.words import caption, word
from vitlens_core.errors import ConfigError

logger = logging.getLogger(__name__)

SEVERAL = "|"
COLUMNS = ("file", "uid", "label", "text", "name", "tags", "licence", "creator")


@dataclass(frozen=True)
class Facts:
    """What a row states of an object; missing facts are None or empty."""

    label: str | None = None
    captions: tuple[str, ...] = ()
    name: str = ""
    tags: tuple[str, ...] = ()
    licence: str | None = None
    creator: str | None = None


class FactTable:
    """The facts of a table by object."""

    def __init__(self, path: Path) -> None:
        """Read a table (`ConfigError`: it cannot be read, or contradicts itself)."""
        self.path = path
        self.states_labels = False
        self._facts: dict[str, Facts] = {}
        self._used: set[str] = set()
        first: dict[str, int] = {}
        for number, row in rows(path, key="file"):
            _check_columns(row, path, number)
            self.states_labels |= "label" in row
            name, facts = _read(row, path, number)
            if name in self._facts and self._facts[name] != facts:
                raise ConfigError(
                    f"{path}, row {number}: {name!r} is already in row {first[name]}, with other "
                    "facts; several texts go into one cell, separated by `|`, or into a list"
                )
            self._facts[name] = facts
            first.setdefault(name, number)
        if not self._facts:
            raise ConfigError(f"{path}: expected a row per object, found none")

    def of(self, found: Found) -> Facts:
        """Return the facts of an object, which the table names by uid, or by its path in the
        folder with or without ending."""
        # Not by the file's name alone: files of several folders may share it.
        for name in (found.uid, found.path, found.path.rpartition(".")[0]):
            if name in self._facts:
                self._used.add(name)
                return self._facts[name]
        return Facts()

    def check_used(self, objects: int) -> None:
        """Refuse a table without an object of the folder (`ConfigError`); warn of rows unused."""
        unused = [name for name in self._facts if name not in self._used]
        if not self._used:
            raise ConfigError(
                f"{self.path}: none of its {len(unused)} rows names one of the {objects} objects "
                f"(such as {unused[0]!r}); expected their file in the mirror, or their uid"
            )
        if unused:
            logger.warning(
                "%s: %d rows name no object of the mirror, such as %r",
                self.path,
                len(unused),
                unused[0],
            )


def _check_columns(row: Row, path: Path, number: int) -> None:
    if unknown := [name for name in row if name not in COLUMNS]:
        raise ConfigError(
            f"{path}, row {number}: unknown columns {', '.join(map(repr, unknown))}; it takes "
            f"{', '.join(COLUMNS)}"
        )
    if not {"file", "uid"} & set(row):
        raise ConfigError(f"{path}, row {number}: expected a column file or uid")


def _read(row: Row, path: Path, number: int) -> tuple[str, Facts]:
    try:
        name = word(row.get("uid")) or word(row.get("file"))
        facts = Facts(
            label=word(row.get("label")) or None,
            captions=_several(row.get("text")),
            name=word(row.get("name")),
            tags=_several(row.get("tags")),
            licence=word(row.get("licence")) or None,
            creator=word(row.get("creator")) or None,
        )
    except ValueError as error:
        raise ConfigError(f"{path}, row {number}: {error}") from error
    if not name:
        raise ConfigError(f"{path}, row {number}: names no file and no uid")
    return name.removeprefix("./"), facts


def _several(value: object) -> tuple[str, ...]:
    parts: Iterable[object] = (value,) if value else ()
    if isinstance(value, str):
        parts = value.split(SEVERAL)
    elif isinstance(value, Iterable):
        parts = value
    return tuple(dict.fromkeys(text for part in parts if (text := caption(part))))
