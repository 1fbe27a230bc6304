"""Which axis of a file points up, and how long its unit is: stated per source, turned to ours."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

Up = Literal["x", "y", "z", "-x", "-y", "-z"]

# Rows of the rotation that turns the named axis upwards (to y).
_TURNS: dict[Up, tuple[tuple[int, int, int], ...]] = {
    "y": ((1, 0, 0), (0, 1, 0), (0, 0, 1)),
    "-y": ((1, 0, 0), (0, -1, 0), (0, 0, -1)),
    "z": ((1, 0, 0), (0, 0, 1), (0, -1, 0)),
    "-z": ((1, 0, 0), (0, 0, -1), (0, 1, 0)),
    "x": ((0, -1, 0), (1, 0, 0), (0, 0, 1)),
    "-x": ((0, 1, 0), (-1, 0, 0), (0, 0, 1)),
}


@dataclass(frozen=True)
class Placing:
    """What a source states of its files' coordinates.

    Attributes:
        up: the axis that points up; None: as the format has it (z in STEP and 3MF, what the file
            states in COLLADA, y in all others).
        unit_m: metres of a unit, for formats that state none (OBJ, PLY, STL, OFF).
    """

    up: Up | None = None
    unit_m: float = 1.0


def turned(up: Up, unit_m: float = 1.0) -> np.ndarray:
    """Return the matrix [4, 4] from a file's coordinates to metres with y up."""
    matrix = np.eye(4)
    matrix[:3, :3] = np.array(_TURNS[up]) * unit_m
    return matrix
