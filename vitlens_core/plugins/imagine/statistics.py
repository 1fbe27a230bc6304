"""The length and mean of a foundation's image embeddings.

Decoders were trained on embeddings as the image encoder gives them, before they are normalised.
A lens's embeddings have unit norm, and lie beside those of images: each modality fills a cone of
its own. They are moved by the difference of the means, and given the length of image embeddings.

Axes: B signals, E embedding.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor

from vitlens_core.checkpoint import read_tensors
from vitlens_core.errors import CheckpointError, InputError
from vitlens_core.models.trunk import Trunk
from vitlens_core.models.weights import digest_of_tensors

_FORMAT = "vitlens-image-statistics-1"
FILE = "image_statistics.safetensors"  # beside foundation.json
_IMAGE, _NORM, _EMPTY = "image", "norm", "empty"


class ImageStatistics:
    """Means of unit embeddings by modality, the mean length of image embeddings, and the
    embedding of a plain picture, from which decoders are guided away.

    Attributes:
        trunk_digest: of the foundation's vision trunk that they were measured on.
    """

    def __init__(
        self, means: Mapping[str, Tensor], norm: float, empty: Tensor, trunk_digest: str
    ) -> None:
        self.means = dict(means)
        self.norm = norm
        self.empty = empty
        self.trunk_digest = trunk_digest

    @classmethod
    def measure(
        cls, images: Tensor, signals: Mapping[str, Tensor], empty: Tensor, trunk: Trunk
    ) -> ImageStatistics:
        """Measure them on embeddings; `Model.image_statistics` does so on files.

        Args:
            images: [B, E] of pictures, not normalised.
            signals: [B, E] of other modalities, unit norm.
            empty: [E] of a plain picture, not normalised.
            trunk: the foundation's.

        Raises:
            InputError: there are fewer than two pictures, or signals of a modality.
        """
        for name, vectors in {_IMAGE: images, **signals}.items():
            # Moved by the mean of itself alone, a signal would become that of the pictures.
            if len(vectors) < 2:
                raise InputError(f"{name}: a mean needs two or more, found {len(vectors)}")
        means = {_IMAGE: F.normalize(images, dim=-1).mean(dim=0)}
        means |= {name: vectors.mean(dim=0) for name, vectors in signals.items()}
        norm = float(images.norm(dim=-1).mean())
        return cls(means, norm, empty, digest_of_tensors(trunk.state_dict()))

    def corrected(self, embedded: Tensor, modality: str, strength: float = 1.0) -> Tensor:
        """Turn unit embeddings [B, E] into those that decoders expect: moved, then lengthened.

        Args:
            modality: whose cone they come from; one without a mean is not moved.
            strength: share of the gap between the means that is closed.
        """
        if modality in self.means and modality != _IMAGE:
            gap = self.means[_IMAGE] - self.means[modality]
            embedded = F.normalize(embedded + strength * gap, dim=-1)
        return embedded * self.norm

    def save(self, path: Path) -> None:
        """Write them; `FILE` in the foundation's folder is where they belong."""
        tensors = {f"mean.{name}": mean.contiguous() for name, mean in self.means.items()}
        tensors |= {_NORM: torch.tensor(self.norm), _EMPTY: self.empty.contiguous()}
        save_file(tensors, path, {"format": _FORMAT, "trunk_digest": self.trunk_digest})

    @classmethod
    def load(cls, path: Path, trunk: Trunk) -> ImageStatistics:
        """Read them. Raises CheckpointError if they are of another foundation than `trunk`'s."""
        stated, tensors = read_tensors(path)
        if stated.get("format") != _FORMAT:
            raise CheckpointError(f"{path} holds no image statistics ({_FORMAT})")
        found = digest_of_tensors(trunk.state_dict())
        if stated.get("trunk_digest") != found:
            raise CheckpointError(
                f"{path} was measured on another foundation (trunk "
                f"{stated.get('trunk_digest', '')[:12]}…, the model's is {found[:12]}…): measure "
                "it again"
            )
        means = {n.removeprefix("mean."): t for n, t in tensors.items() if n.startswith("mean.")}
        return cls(means, float(tensors[_NORM]), tensors[_EMPTY], found)
