"""draws: draws one of a sample's targets, and whether a sample comes in an epoch, by weights."""

from __future__ import annotations

import random
from array import array
from collections.abc import Mapping, Sequence

from pipelines.shards.sample import SampleInfo
from vitlens_core.errors import IntegrityError


class DrawWeights:
    """The weights of the samples of a shard for one kind of target; 4 bytes each."""

    def __init__(self) -> None:
        self._weights = array("f")
        self._ends = array("L")

    def append(self, weights: Sequence[float]) -> None:
        """Add the next sample; without weights its targets are drawn evenly."""
        self._weights.extend(weights)
        self._ends.append(len(self._weights))

    def drawn(self, number: int, count: int, rng: random.Random) -> int:
        """Draw one of the `count` targets of a sample (`IntegrityError`: other weights)."""
        weights = self._of(number, count)
        return rng.choices(range(count), weights)[0] if weights else rng.randrange(count)

    def shares(self, number: int, count: int) -> Sequence[float]:
        """Return how likely each of the `count` targets of a sample is to be drawn.

        Raises:
            IntegrityError: the sample has other weights.
        """
        weights = self._of(number, count) or [1.0] * count
        return [weight / sum(weights) for weight in weights]

    def _of(self, number: int, count: int) -> Sequence[float]:
        start = self._ends[number - 1] if number else 0
        weights = self._weights[start : self._ends[number]]
        if weights and len(weights) != count:
            raise IntegrityError(f"{len(weights)} weights for {count} targets")
        return weights


def weights_of(infos: Sequence[SampleInfo], kinds: Sequence[str]) -> Mapping[str, DrawWeights]:
    """Return the weights of a shard's samples by kind of target."""
    found = {kind: DrawWeights() for kind in kinds}
    for info in infos:
        for kind, weights in found.items():
            weights.append(info.weights.get(kind, ()))
    return found


class MirrorShares:
    """The share of epochs in which samples of a mirror come, from weights.

    The samples with the largest weight come in every epoch; mirrors without a weight have 1.
    """

    def __init__(self, weights: Mapping[str, float], seed: int) -> None:
        most = max([1.0, *weights.values()])
        self._shares = {name: weight / most for name, weight in weights.items()}
        self._of_others = 1 / most
        self._seed = seed

    def __bool__(self) -> bool:
        return bool(self._shares)

    def keeps(self, mirror: str, key: str, epoch: int) -> bool:
        """Draw whether a sample comes in an epoch; the same whoever asks."""
        share = self._shares.get(mirror, self._of_others)
        return random.Random(f"{self._seed}/{epoch}/{key}").random() < share  # noqa: S311
