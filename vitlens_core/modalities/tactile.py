"""Touch: RGB pictures of a gel that a surface presses (GelSight).

Raw: uint8 RGB [H, W, 3]. Stored: the middle square, larger than what the tower sees, so that
training can crop. The tower sees CLIP-normalised pixels through CLIP-sized patches, which have no
positional table of their own: the trunk's is used.

Axes: B batch, H height, W width, S side of the stored square, C side of a crop.
Source: ViT-Lens (arXiv 2311.16081) §4.1 (Touch-and-Go).
"""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import numpy as np
from pydantic import Field

from vitlens_core.errors import ConfigError
from vitlens_core.late import tokenizers, torch
from vitlens_core.modalities.base import LensedModality, SignalConfig, TokenizerConfig
from vitlens_core.network_settings import LensSettings, TrunkSettings
from vitlens_core.readers.formats import PICTURES
from vitlens_core.readers.pictures import read_rgb
from vitlens_core.row_generator import RowGenerator
from vitlens_core.signals.checks import batch_of_pixels, raw_pixels
from vitlens_core.signals.pictures import normalised, random_crops, random_turns, square_rgb


class TactileSignal(SignalConfig):
    """The middle square of a gel's picture."""

    raw_shape: ClassVar[tuple[int, ...]] = (-1, -1, 3)

    side_px: int = Field(256, ge=14, description="side of the stored square")

    def example(self) -> np.ndarray:
        """Return a gel that a grid presses."""
        rows, columns = np.mgrid[:240, :320]
        height = ((rows // 20 + columns // 20) % 2 * 127 + 64).astype(np.uint8)
        return height[..., None].repeat(3, axis=-1)

    def store(self, raw: np.ndarray) -> np.ndarray:
        """Resize and cut uint8 RGB [H, W, 3] to uint8 [S, S, 3]. Raises InputError."""
        return square_rgb(raw_pixels(raw, "a gel picture", "H", "W", 3), self.side_px)


class TactileTokenizer(TokenizerConfig[TactileSignal]):
    """CLIP's patches of RGB, starting from CLIP's own kernel."""

    starts_as_patches: ClassVar[bool] = True

    crop_px: int = Field(224, ge=14, description="side of the square the tower sees")
    patch_px: int = Field(14, ge=1, description="side of a patch")
    width: int = Field(1024, ge=1, description="width of a token, equal to the trunk's")

    def check(self, signal: TactileSignal) -> None:
        if self.crop_px > signal.side_px:
            raise ConfigError(
                f"tokenizer.crop_px: the tower would see squares of {self.crop_px} px, but squares "
                f"of {signal.side_px} px are stored (signal.side_px)"
            )

    def build(self, signal: TactileSignal) -> tokenizers.PatchTokenizer:
        return tokenizers.PatchTokenizer(
            width=self.width,
            patch=self.patch_px,
            size=(self.crop_px, self.crop_px),
            in_channels=3,
            positions=False,  # the trunk's table serves, as for images
        )

    def prepare(self, signals: torch.Tensor, signal: TactileSignal) -> torch.Tensor:
        """Cut the middles of uint8 [B, S, S, 3] and normalise them, [B, 3, C, C]."""
        edge = (signal.side_px - self.crop_px) // 2
        end = edge + self.crop_px
        return normalised(_checked(signals, signal)[:, edge:end, edge:end])

    def augment(
        self, signals: torch.Tensor, signal: TactileSignal, generator: RowGenerator
    ) -> torch.Tensor:
        """Prepare random crops, turned by any angle and mirrored: a texture has no up."""
        crops = random_crops(_checked(signals, signal), self.crop_px, generator)
        return random_turns(normalised(crops), generator)


def _checked(signals: torch.Tensor, signal: TactileSignal) -> torch.Tensor:
    return batch_of_pixels(signals, "gel pictures", signal.side_px, signal.side_px, 3)


class Tactile(LensedModality[TactileSignal]):
    """Touch: RGB pictures of a gel that a surface presses (GelSight)."""

    name = "tactile"
    metric_prefix = "touch"
    templates = ("an image of {}.",)
    signal_file = "tactile.npy"
    takes = PICTURES
    Signal = TactileSignal
    Tokenizer = TactileTokenizer
    lens = LensSettings(kind="identity")
    # ViT-Lens tunes these parts of the image tower for touch.
    trunk = TrunkSettings(
        unlock_cls=True, unlock_positions=True, unlock_norm_pre=True, unlock_first=4
    )

    def read(self, path: str | Path) -> np.ndarray:
        """Read a gel picture as uint8 RGB [H, W, 3]. Raises InputError."""
        return read_rgb(path)


MODALITY = Tactile()
