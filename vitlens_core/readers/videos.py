"""Reads frames of videos, spread evenly over time, through PyAV.

Axes: S frames, H height, W width.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Protocol

import numpy as np

from vitlens_core.errors import InputError
from vitlens_core.readers.files import existing, optional, unreadable

ENDINGS = frozenset({".mp4", ".m4v", ".mov", ".webm", ".mkv", ".avi", ".gif"})


def read_frames(path: str | Path, frames: int) -> np.ndarray:
    """Read `frames` frames, each in the middle of one of as many equal spans of time.

    A shorter video gives all its frames. The file is decoded twice, so that only the chosen frames
    are in memory.

    Returns:
        uint8 [S, H, W, 3].

    Raises:
        InputError: the file is missing, damaged, or has no picture.
        ConfigError: PyAV is not installed.
    """
    path = existing(path, ENDINGS, "a video")
    av = optional("av")
    try:
        # Counted by decoding: a container may state no number of frames, or a wrong one.
        total = sum(1 for _ in _decoded(av, path))
        chosen = set(spread(total, frames))
        pictures = [
            frame.to_ndarray(format="rgb24")
            for index, frame in enumerate(_decoded(av, path))
            if index in chosen
        ]
    except (av.FFmpegError, IndexError) as error:  # IndexError: there is no video stream
        raise unreadable(path, "a video", error) from error
    if not pictures:
        raise InputError(f"expected a video, found no frame in {path}")
    return np.stack(pictures)


def spread(total: int, wanted: int) -> list[int]:
    """Return indices into `total` frames: the middle of each of `wanted` equal spans."""
    wanted = min(total, wanted)
    return [int((i + 0.5) * total / wanted) for i in range(wanted)]


class _Frame(Protocol):
    def to_ndarray(self, *, format: str) -> np.ndarray: ...


def _decoded(av: ModuleType, path: Path) -> Iterator[_Frame]:
    with av.open(str(path)) as container:
        yield from container.decode(container.streams.video[0])
