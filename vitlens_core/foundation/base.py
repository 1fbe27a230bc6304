"""Foundation: the frozen dual encoder that defines the embedding space.

All other code uses this one interface: image and text embeddings, the frozen ViT trunk that
the lens feeds, the embedding width, a digest.

Axes: B batch, H height, W width (of images), T tokens, E embedding.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vitlens_core.errors import InputError
from vitlens_core.models.trunk import Trunk
from vitlens_core.models.weights import digest_of_tensors


class Foundation(nn.Module, ABC):
    """A frozen encoder of images and text into one space, whose ViT is accessible.

    Attributes:
        spec: the string it was loaded from.
        embed_dim: E.
        image_size_px: side of the square images it sees.
        trunk: the ViT behind its patch embedding; `trunk(image_tokens(pixels))` embeds an image.
        logit_scale: inverse temperature with which image and text were trained.
    """

    spec: str
    embed_dim: int
    image_size_px: int
    trunk: Trunk
    mean: Tensor
    std: Tensor

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        # Not persistent: they belong to the preprocessing, and the digest is of weights only.
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1), persistent=False)

    @property
    def has_text(self) -> bool:
        """Whether it embeds texts; without it, image embeddings are the only targets."""
        return True

    @property
    @abstractmethod
    def logit_scale(self) -> float: ...

    @abstractmethod
    def image_tokens(self, pixels: Tensor) -> Tensor:
        """Cut normalised pixels [B, 3, S, S] into patch tokens [B, T, width], without positions."""

    @abstractmethod
    def text_embeddings(self, texts: Sequence[str]) -> Tensor:
        """Embed texts: [B, E], not normalised."""

    def preprocess(self, images: Tensor) -> Tensor:
        """Resize (antialiased) and normalise uint8 RGB [B, H, W, 3] to float [B, 3, S, S]."""
        if images.dtype != torch.uint8 or images.ndim != 4 or images.shape[-1] != 3:
            raise InputError(
                f"expected uint8 RGB images [B, H, W, 3], found {images.dtype} {list(images.shape)}"
            )
        pixels = images.permute(0, 3, 1, 2).to(self.mean.device).float() / 255
        size = (self.image_size_px, self.image_size_px)
        if pixels.shape[-2:] != size:
            # Bicubic weights are partly negative, so that edges overshoot 0..1.
            pixels = F.interpolate(pixels, size=size, mode="bicubic", antialias=True).clamp(0, 1)
        return (pixels - self.mean) / self.std

    @torch.inference_mode()
    def encode_image(self, images: Tensor) -> Tensor:
        """Embed uint8 RGB images [B, H, W, 3]: unit norm, [B, E]."""
        return F.normalize(self.trunk(self.image_tokens(self.preprocess(images))), dim=-1)

    @torch.inference_mode()
    def encode_text(self, texts: Sequence[str]) -> Tensor:
        """Embed texts: unit norm, [B, E]."""
        return F.normalize(self.text_embeddings(texts), dim=-1)

    def freeze(self) -> Foundation:
        """Set evaluation mode and make all parameters untrainable; returns itself."""
        return self.eval().requires_grad_(False)

    def digest(self) -> str:
        """Compute the space's identity: SHA-256 of every tensor's name, shape, type and bytes."""
        return digest_of_tensors(self.state_dict())
