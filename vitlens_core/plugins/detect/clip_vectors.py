"""The classifier of detectors that compare a region with CLIP vectors (Detic and its like).

Their published classifier is a matrix of text vectors. Embeddings of any modality of the same
CLIP take its place: as a file for the detector's own code, or as this module.

Source: Detic (arXiv 2201.02605), its zero-shot classifier.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vitlens_core.errors import InputError


class ClipVectorClassifier(nn.Module):
    """Cosines of region features with query vectors, times a temperature, and a background of 0.

    Args:
        projection: the detector's linear layer, from region features to the space of CLIP.
        queries: [Q, D].
        scale: the detector's inverse temperature.

    Raises:
        InputError: the queries do not have the width of the projection.
    """

    queries: Tensor

    def __init__(self, projection: nn.Linear, queries: Tensor, scale: float = 50.0) -> None:
        super().__init__()
        _check(queries, projection.out_features)
        self.projection = projection
        self.register_buffer("queries", F.normalize(queries, dim=-1))
        self.scale = scale

    def forward(self, features: Tensor) -> Tensor:
        """Score region features [N, W]: [N, Q+1], the background last."""
        scores = self.scale * F.normalize(self.projection(features), dim=-1) @ self.queries.T
        return torch.cat([scores, scores.new_zeros(len(scores), 1)], dim=1)


def save_classifier(queries: Tensor, path: Path, width: int = 512) -> None:
    """Write query vectors [Q, D] as the `.npy` file that Detic reads as `zs_weight_path`.

    Args:
        width: D of the detector; 512 for CLIP ViT-B/32.

    Raises:
        InputError: the queries have another width.
    """
    _check(queries, width)
    np.save(path, F.normalize(queries.float(), dim=-1).numpy(force=True))


def _check(queries: Tensor, width: int) -> None:
    if queries.ndim != 2 or queries.shape[1] != width:
        raise InputError(
            f"this detector takes vectors [Q, {width}] of the CLIP it was trained with, found "
            f"{list(queries.shape)}: train the lens with that CLIP as its foundation"
        )
