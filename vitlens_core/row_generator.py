"""Random numbers that are a function of a row's key and a counter, the same on every device.

    generator = RowGenerator.of("0/17", rows=range(48, 96), device=device)
    gain = generator.uniform(0.8, 1.25, 48, 1, 1)          # [48, 1, 1], one number per row

torch's own generators give a GPU other numbers than a CPU, and a row other numbers in another
batch. Here a row draws the same on any device, in any batch, on any number of workers. Draws are
exact integers (SplitMix64); what is computed from them agrees to rounding.

Source: Steele, Lea, Flood: Fast splittable pseudorandom number generators (OOPSLA 2014).
Axes: B rows.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence

from vitlens_core.errors import InputError
from vitlens_core.late import torch

# As signed 64-bit integers, since torch multiplies no unsigned ones; products wrap around.
GAMMA, _FIRST, _SECOND = -7046029254386353131, -4658895280553007687, -7723592293110705685
_BITS = 24  # of a uniform float32 in [0, 1)
_SUMMED, _LARGEST = 15, 0x7FFF  # bits of each of the four numbers whose sum is bell-shaped
# The inverse of that sum's deviation: a GPU divides by a number as it multiplies by its inverse.
_SCALE = 1 / math.sqrt(((_LARGEST + 1) ** 2 - 1) / 3)


class RowGenerator:
    """One stream of random numbers per row; every draw advances all streams alike."""

    def __init__(self, keys: torch.Tensor) -> None:
        """`keys` are int64 [B], one per row, on the device of the draws."""
        self._keys = keys
        self._drawn = 0

    @classmethod
    def of(
        cls, label: str, rows: Sequence[int], device: torch.device | str = "cpu"
    ) -> RowGenerator:
        """Make the generator of some rows of a step, which `label` names."""
        start = int.from_bytes(hashlib.sha256(label.encode()).digest()[:8], "big", signed=True)
        keys = torch.tensor(list(rows), dtype=torch.int64, device=device)
        return cls(mixed(keys * GAMMA + start))

    def bits(self, *shape: int) -> torch.Tensor:
        """Draw 63 random bits each: non-negative int64 [B, …]."""
        if not shape or shape[0] != len(self._keys):
            raise InputError(f"expected a shape of {len(self._keys)} rows, found {list(shape)}")
        count = math.prod(shape[1:])
        first, self._drawn = self._drawn + 1, self._drawn + count
        counters = torch.arange(first, first + count, device=self._keys.device)
        return _shifted(mixed(self._keys[:, None] + counters * GAMMA), 1).view(shape)

    def rand(self, *shape: int) -> torch.Tensor:
        """Draw float32 [B, …] from [0, 1)."""
        return (self.bits(*shape) >> (63 - _BITS)).float() * 2.0**-_BITS

    def uniform(self, low: float, high: float, *shape: int) -> torch.Tensor:
        """Draw float32 [B, …] from [low, high)."""
        return low + (high - low) * self.rand(*shape)

    def randint(self, low: int, high: int, *shape: int) -> torch.Tensor:
        """Draw int64 [B, …] from low..high - 1."""
        return low + self.bits(*shape) % (high - low)

    def randn(self, *shape: int) -> torch.Tensor:
        """Draw float32 [B, …] of mean 0 and deviation 1, bell-shaped, within 3.5.

        A sum of four uniform numbers, since logarithms and sines differ between devices.
        """
        drawn, total = self.bits(*shape), 0
        for place in range(4):
            total = total + ((drawn >> (_SUMMED * place)) & _LARGEST)
        return (total - 2 * _LARGEST).float() * _SCALE

    def subset(self, rows: int, count: int, of: int) -> torch.Tensor:
        """Draw `count` different numbers below `of`, in ascending order: int64 [B, count]."""
        return self.bits(rows, of).topk(count).indices.sort().values


def mixed(state: torch.Tensor) -> torch.Tensor:
    """Return int64 that are mixed by SplitMix64's finaliser."""
    state = (state ^ _shifted(state, 30)) * _FIRST
    state = (state ^ _shifted(state, 27)) * _SECOND
    return state ^ _shifted(state, 31)


def _shifted(state: torch.Tensor, places: int) -> torch.Tensor:
    """Shift right without the sign."""
    return (state >> places) & ((1 << (64 - places)) - 1)
