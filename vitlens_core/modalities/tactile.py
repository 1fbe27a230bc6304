"""Touch: RGB pictures of a gel that a surface presses (GelSight).

Raw: uint8 RGB [H, W, 3]. Stored: the middle square at 8/7 of the tower's side, which leaves
room for crops. The tower sees CLIP-normalised pixels through CLIP-sized patches, without
positions of their own: the trunk's serve.

Axes: B batch, H height, W width, S side.
Source: ViT-Lens (arXiv 2311.16081) §4.1 (Touch-and-Go).
"""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from vitlens_core.models.tokenizers import PatchTokenizer
from vitlens_core.readers.pictures import read_rgb
from vitlens_core.signals.checks import batch_of_pixels, raw_pixels
from vitlens_core.signals.pictures import normalised, random_crops, random_turns, square_rgb
from vitlens_core.signals.settings import SignalSettings

NAME = "tactile"
WORD = "touch"
SIGNAL = "tactile.npy"
ENCODER = "lens"
TEMPLATES = ("an image of {}.",)
LENS = {"kind": "identity"}
TRUNK = {
    "unlock_cls": True,
    "unlock_positions": True,
    "unlock_norm_pre": True,
    "unlock_first": 4,
}


def read(path: str | Path) -> np.ndarray:
    """uint8 RGB [H, W, 3] of a gel picture. Raises InputError."""
    return read_rgb(path)


class Tokenizer(SignalSettings):
    """CLIP's patches of RGB, starting from CLIP's own kernel."""

    raw_shape: ClassVar[tuple[int, ...]] = (-1, -1, 3)
    starts_as_patches: ClassVar[bool] = True

    side_px: int = Field(224, ge=14, description="side of the square the tower sees")
    patch_px: int = Field(14, ge=1, description="side of a patch")
    width: int = Field(1024, ge=1, description="width of a token: the trunk's")

    @property
    def stored_px(self) -> int:
        """Side of a stored picture: 256 for a tower of 224."""
        return round(self.side_px * 8 / 7)

    def build(self) -> PatchTokenizer:
        return PatchTokenizer(
            width=self.width,
            patch=self.patch_px,
            size=(self.side_px, self.side_px),
            in_channels=3,
            positions=False,
        )

    def example(self) -> np.ndarray:
        """A gel that is pressed by a grid."""
        rows, columns = np.mgrid[:240, :320]
        height = ((rows // 20 + columns // 20) % 2 * 127 + 64).astype(np.uint8)
        return height[..., None].repeat(3, axis=-1)

    def store(self, raw: np.ndarray) -> np.ndarray:
        """uint8 RGB [H, W, 3] → uint8 [stored_px, stored_px, 3]. Raises InputError."""
        return square_rgb(raw_pixels(raw, "a gel picture", "H", "W", 3), self.stored_px)

    def prepare(self, signals: Tensor) -> Tensor:
        """uint8 [B, stored_px, stored_px, 3] → their middles [B, 3, S, S], normalised."""
        edge = (self.stored_px - self.side_px) // 2
        end = edge + self.side_px
        return normalised(self._checked(signals)[:, edge:end, edge:end])

    def augment(self, signals: Tensor, generator: torch.Generator) -> Tensor:
        """As `prepare`, with random crops, turns and mirror images: a texture has no up."""
        crops = random_crops(self._checked(signals), self.side_px, generator)
        return random_turns(normalised(crops), generator)

    def _checked(self, signals: Tensor) -> Tensor:
        return batch_of_pixels(signals, "gel pictures", self.stored_px, self.stored_px, 3)
