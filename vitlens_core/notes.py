"""notes: what a reader could not find in a file and replaced, told to whoever reads it.

with collected() as notes:
    cloud = read_cloud(path, points, seed)
# notes: ["no colours among x, y, z, intensity: points are grey"]
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar

_OPEN: ContextVar[list[str] | None] = ContextVar("notes", default=None)


@contextmanager
def collected() -> Generator[list[str]]:
    """Collect the notes of all files that are read in the block."""
    notes: list[str] = []
    token = _OPEN.set(notes)
    try:
        yield notes
    finally:
        _OPEN.reset(token)


def note(text: str) -> None:
    """Add a note on the file that is being read; it is lost if nobody collects notes."""
    notes = _OPEN.get()
    if notes is not None and text not in notes:
        notes.append(text)
