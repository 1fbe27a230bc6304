"""fetched: an object on the local disk, and the present size of a file."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class FetchedObject:
    """A GLB on the local disk, whole and of the announced size."""

    path: Path
    size_bytes: int
    sha256: str


def size_of_file(path: str) -> int | None:
    """Return the size of a file; None if there is none."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_size if stat.S_ISREG(status.st_mode) else None
