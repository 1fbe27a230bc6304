"""What a modality gives to a trunk, and what the trunk makes of it, before any pooling.

Axes: B batch, K tapped blocks, T input tokens, N tokens of the trunk, W width, E embedding.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vitlens_core.foundation.base import Foundation
from vitlens_core.models.tower import Tower
from vitlens_core.models.trunk import Trunk


@dataclass(frozen=True)
class TokenSource:
    """The tokens of a modality on a trunk.

    Attributes:
        trunk: the trunk that sees them.
        inputs: stored inputs → what the trunk is fed, [B, T, W], without positions.
        states: stored inputs and taps → the blocks' outputs, [B, K, N, W], not normed.
        spec: of the foundation, for images; a lens's own is in its checkpoint.
    """

    trunk: Trunk
    inputs: Callable[[Sequence[Any]], Tensor]
    states: Callable[[Sequence[Any], Sequence[int]], Tensor]
    spec: str = ""


def lens_tokens(tower: Tower, prepare: Callable[[Tensor], Tensor]) -> TokenSource:
    """Return the tokens of a lens; `prepare` turns stored signals into its tower's input."""

    def prepared(stored: Sequence[np.ndarray]) -> Tensor:
        device = next(tower.parameters()).device
        return prepare(torch.from_numpy(np.stack(stored))).to(device)

    return TokenSource(
        tower.trunk,
        lambda stored: tower.inputs(prepared(stored)),
        lambda stored, taps: tower.states(prepared(stored), taps),
    )


def image_tokens(foundation: Foundation) -> TokenSource:
    """Return the tokens of images, which the foundation's own patch embedding makes."""

    def inputs(stored: Sequence[np.ndarray]) -> Tensor:
        images = torch.from_numpy(np.stack(stored))
        return foundation.image_tokens(foundation.preprocess(images))

    def states(stored: Sequence[np.ndarray], taps: Sequence[int]) -> Tensor:
        return torch.stack(foundation.trunk.states([inputs(stored)], taps), dim=1)

    return TokenSource(foundation.trunk, inputs, states, foundation.spec)
