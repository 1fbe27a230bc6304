"""Images: RGB pictures, encoded by the foundation itself.

Raw: uint8 RGB [H, W, 3]. Stored: the middle square [S, S, 3], resized as CLIP does.

Axes: B batch, H height, W width, S side, E embedding.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

from vitlens_core.captions import GENERAL_TEMPLATES
from vitlens_core.late import torch
from vitlens_core.modalities.base import FoundationModality
from vitlens_core.readers.formats import PICTURES
from vitlens_core.readers.pictures import read_rgb
from vitlens_core.signals.checks import raw_pixels
from vitlens_core.signals.pictures import square_rgb


class ImageEncoder(Protocol):
    """A foundation, or the image tower of a published checkpoint."""

    def encode_image(self, images: torch.Tensor, /) -> torch.Tensor:
        """Embed uint8 RGB images [B, H, W, 3]: unit norm, [B, E]."""
        ...


class Image(FoundationModality[ImageEncoder, np.ndarray]):
    """Images: RGB pictures, encoded by the foundation itself."""

    name = "image"
    metric_prefix = "image"
    templates = GENERAL_TEMPLATES
    takes = PICTURES

    def read(self, path: str | Path) -> np.ndarray:
        """Read a picture file as uint8 RGB [H, W, 3]. Raises InputError."""
        return read_rgb(path)

    def store(self, raw: object, side_px: int) -> np.ndarray:
        """Resize and cut uint8 RGB [H, W, 3] to [S, S, 3]. Raises InputError on other arrays."""
        return square_rgb(raw_pixels(raw, "an RGB image", "H", "W", 3), side_px)

    def embed(self, encoder: ImageEncoder, stored: Sequence[np.ndarray]) -> torch.Tensor:
        """Embed stored images: unit norm, [B, E]."""
        return encoder.encode_image(torch.from_numpy(np.stack(stored)))


MODALITY = Image()
