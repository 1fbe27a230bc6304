"""captions: texts of people and models for objects of a mirror, by uid.

Reads     tables such as Cap3D's (CSV without a line of names: uid, caption), ULIP-2's and
          OpenShape's (JSON: {uid: text or list of texts}), or any CSV, TSV, JSON or Parquet.
Promises  a row is read when it is due: memory holds the texts of the objects that are used.

The rule on leaks: a caption that names the class of held-out objects is none, since the classes of
an evaluation are no secret; a caption *of* a held-out object is one, if it were trained on. An
object's captions therefore go where the object goes, and a table has no split of its own.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import Any

from pipelines.objects.step import CaptionTable, ObjectsConfig
from pipelines.store.tables import Row, rows
from pipelines.store.words import caption, word
from vitlens_core.errors import ConfigError

logger = logging.getLogger(__name__)


class Captions:
    """The texts of every table for some objects, and the names that are dropped."""

    def __init__(self, config: ObjectsConfig, packed_uids: Iterable[bytes]) -> None:
        """Read the tables (`ConfigError`: one cannot be read, or has no text of any object)."""
        self._tables = config.captions
        self._texts: dict[str, dict[str, tuple[str, ...]]] = {}
        # As strings, 10 M of them take some 1.5 GB: only where a table is compared with them.
        is_asked = bool(self._tables or config.names_dropped)
        uids = {uid.decode() for uid in packed_uids} if is_asked else set()
        self._dropped = _dropped(config.names_dropped, uids)
        for name, table in self._tables.items():
            found = _read(table, uids)
            if not found:
                raise ConfigError(
                    f"objects.captions.{name}: {table.path} has no text of any of the "
                    f"{len(uids)} objects; expected their uid in the column {table.key!r}"
                )
            logger.info("captions %s: of %d of %d objects", name, len(found), len(uids))
            self._texts[name] = found

    def added(self, item: dict[str, Any]) -> dict[str, Any]:
        """Return an object's fields with its texts and how often each is drawn."""
        texts: dict[str, float] = {}
        for name, table in self._tables.items():
            found = self._texts[name].get(item["uid"], ())
            for text in found:
                # A table's weight is that of all its texts of an object together.
                texts[text] = texts.get(text, 0.0) + table.weight / len(found)
        name = "" if item["uid"] in self._dropped else item["name"]
        return {**item, "name": name, "texts": list(texts), "text_weights": list(texts.values())}


def _dropped(path: str | None, uids: Collection[str]) -> set[str]:
    if path is None:
        return set()
    listed = rows(Path(path).expanduser(), "uid")
    return {uid for _, row in listed if row.get("flag") == "N" and (uid := str(row["uid"])) in uids}


def _read(table: CaptionTable, uids: Collection[str]) -> dict[str, tuple[str, ...]]:
    found: dict[str, tuple[str, ...]] = {}
    for number, row in rows(Path(table.path).expanduser(), table.key, table.names):
        try:
            uid = word(row.get(table.key))
            if uid not in uids:
                continue
            texts = _texts(row, table)
        except ValueError as error:
            raise ConfigError(f"{table.path}, row {number}: {error}") from error
        found[uid] = tuple(dict.fromkeys((*found.get(uid, ()), *texts)))[: table.most]
    return {uid: texts for uid, texts in found.items() if texts}


def _texts(row: Row, table: CaptionTable) -> list[str]:
    columns = table.texts or [name for name in row if name != table.key]
    if missing := [name for name in columns if name not in row]:
        raise ValueError(f"no column {missing[0]!r}; found {', '.join(row)}")
    return [
        text
        for name in columns
        for value in _parts(row[name])
        if (text := caption(value)) and len(text.split()) >= table.fewest_words
    ]


def _parts(value: object) -> Sequence[object]:
    return value if isinstance(value, list) else [value]
