"""spill: records of any number, on the local disk instead of in memory, read again by number.

Writes    a file without a name in the folder for temporary files, gone with the process.
"""

from __future__ import annotations

import json
import tempfile
from array import array
from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

Record = TypeVar("Record")


class Spill:
    """Flat dataclass records as lines of JSON; 8 bytes of memory each."""

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile(prefix="vitlens-spill-")  # noqa: SIM115  closed below
        self._ends = array("q", [0])

    def __enter__(self) -> Spill:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def keeping(self, records: Iterable[Record]) -> Iterator[Record]:
        """Hand on every record once it is written down."""
        for record in records:
            line = json.dumps(vars(record)).encode()
            self._file.write(line)
            self._ends.append(self._ends[-1] + len(line))
            yield record

    def read(self, number: int) -> dict[str, Any]:
        """The fields of a record; what was a tuple is a list."""
        start, end = self._ends[number], self._ends[number + 1]
        self._file.seek(start)
        return json.loads(self._file.read(end - start))
