"""Counts the hostile inputs of every table of the tests, and how each must end.

    python -m tests.chaos.hostile.tables

Reads     the tables of the tests, and hostile.json, which `counting` writes.
Prints    the table of docs/security.md, which a test compares with it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sized
from dataclasses import dataclass
from pathlib import Path

from tests.chaos import test_hostile_listings as listings
from tests.chaos.hostile.meshes import READ, REFUSED
from tests.conftest import ROOT
from tests.pipelines.registry import test_hostile_registry as registry
from tests.pipelines.service import test_hostile_requests as requests
from tests.workflows import test_hostile_backups as backups

FILES = Path(__file__).parents[1] / "hostile.json"
_OF_FILES = "tests/chaos/test_hostile_files.py"
_ANSWERED = 200


@dataclass(frozen=True)
class Row:
    """The inputs of one table: how many there are, are taken as what they are, and are refused."""

    what: str
    read: int
    refused: int
    place: str

    def __str__(self) -> str:
        cases = self.read + self.refused
        return f"| {self.what} | {cases} | {self.read} | {self.refused} | `{self.place}` |"


def rows() -> list[Row]:
    """Return the counts of all tables, as docs/security.md shows them."""
    counted = json.loads(FILES.read_text())
    of_files = [Row(n, c.get(READ, 0), c.get(REFUSED, 0), _OF_FILES) for n, c in counted.items()]
    return [*of_files, *_listings(), *_requests(), *_registry(), *_backups()]


def _listings() -> list[Row]:
    place = _place(listings)
    return [
        _ended("tables of recordings", (end for end, _ in listings.TABLES.values()), place),
        _ended("Parquet", (end for end, _ in listings.PARQUETS.values()), place),
        _refused("names of tables", listings.NAMES_OF_TABLES, place),
        _ended("tars of recordings", (end for end, _ in listings.TARS.values()), place),
        Row(
            "annotations, by three readers",
            0,
            len(listings.ANNOTATIONS) * len(listings.READERS),
            place,
        ),
        _refused("settings of a run", listings.OVERRIDES, place),
        Row("names of files", len(listings.INNER_NAMES), len(listings.NAMES), place),
    ]


def _requests() -> list[Row]:
    place = _place(requests)
    return [
        _answered("bodies", (status for status, _ in requests.BODIES.values()), place),
        _answered("headers", (status for status, _ in requests.HEADERS.values()), place),
        _refused("forms", requests.FIELDS, place),
        _refused("paths", requests.PLACES, place),
        Row("methods", 0, len(requests.METHODS) * len(requests.PLACES_OF_METHODS), place),
        _refused("questions", requests.QUESTIONS, place),
    ]


def _registry() -> list[Row]:
    place = _place(registry)
    return [
        _refused("archives of models", registry.ARCHIVES, place),
        _refused("addresses of models", registry.ADDRESSES, place),
        _ended("tags of versions", (end for _, _, end in registry.TAGS), place),
        _refused("folders of models", registry.FOLDERS, place),
    ]


def _backups() -> list[Row]:
    return [_refused("backups", backups.CASES, _place(backups))]


def _ended(what: str, ends: Iterable[str], place: str) -> Row:
    listed = list(ends)
    return Row(what, listed.count(READ), listed.count(REFUSED), place)


def _answered(what: str, statuses: Iterable[int], place: str) -> Row:
    return _ended(what, (READ if s == _ANSWERED else REFUSED for s in statuses), place)


def _refused(what: str, cases: Sized, place: str) -> Row:
    return Row(what, 0, len(cases), place)


def _place(module: object) -> str:
    return str(Path(str(getattr(module, "__file__", ""))).relative_to(ROOT))


def main() -> None:
    found = rows()
    print("| what | cases | read rightly | refused | tests |\n|---|---|---|---|---|")
    print(*found, sep="\n")
    read, refused = sum(row.read for row in found), sum(row.refused for row in found)
    print(f"\n{read + refused} in all: {read} read rightly, {refused} refused")


if __name__ == "__main__":
    main()
