"""Video: the mean of its frames' embeddings, each encoded by the foundation itself.

Raw: uint8 RGB [S, H, W, 3] of frames spread evenly over time. Stored: their middle squares.

Axes: B batch, S frames, H height, W width, E embedding.
Source: ViT-Lens (arXiv 2311.16081) §4.1.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from vitlens_core.late import F, torch
from vitlens_core.modalities.base import FoundationModality
from vitlens_core.modalities.image import ImageEncoder
from vitlens_core.readers.formats import VIDEOS
from vitlens_core.readers.videos import read_frames
from vitlens_core.signals.checks import raw_pixels
from vitlens_core.signals.pictures import square_rgb

FRAMES = 8


class Video(FoundationModality[ImageEncoder, np.ndarray]):
    """Video: the mean of its frames' embeddings, each encoded by the foundation itself."""

    name = "video"
    metric_prefix = "video"
    templates = (
        "{}",
        "a video of {}.",
        "a clip of {}.",
        "footage of {}.",
        "a video that shows {}.",
    )

    takes = VIDEOS

    def read(self, path: str | Path, *, frames: int = FRAMES) -> np.ndarray:
        """Read evenly spread frames, uint8 RGB [S, H, W, 3]. Raises InputError, ConfigError."""
        return read_frames(path, frames)

    def store(self, raw: object, side_px: int) -> np.ndarray:
        """Resize and cut uint8 RGB [S, H, W, 3] to [S, side, side, 3]. Raises InputError."""
        frames = raw_pixels(raw, "a video", "S", "H", "W", 3)
        return np.stack([square_rgb(frame, side_px) for frame in frames])

    def embed(self, encoder: ImageEncoder, stored: Sequence[np.ndarray]) -> torch.Tensor:
        """Average the unit-norm embeddings of each video's frames, and normalise: [B, E]."""
        # All frames in one batch; videos may differ in their number.
        frames = encoder.encode_image(torch.from_numpy(np.concatenate(stored)))
        means = [part.mean(dim=0) for part in frames.split([len(video) for video in stored])]
        return F.normalize(torch.stack(means), dim=-1)


MODALITY = Video()
