"""unCLIP, Kandinsky 2.2 and IP-Adapter of diffusers, conditioned on given image embeddings.

Axes: B pictures, E embedding.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from vitlens_core.errors import CheckpointError, ConfigError, InputError
from vitlens_core.extras import require
from vitlens_core.models.trunk import Trunk
from vitlens_core.plugins.imagine.table import check_fit, kind_of

if TYPE_CHECKING:
    from PIL.Image import Image

STEPS = 25
# Without accelerate, a warning otherwise says that weights are loaded in one piece.
_SLIM = {"low_cpu_mem_usage": False}


class Decoder(ABC):
    """A diffusion pipeline that draws image embeddings.

    Attributes:
        source: folder or name on the hub.
        embed_dim: E of the embeddings it takes.
    """

    def __init__(self, source: str, pipe: Any) -> None:
        self.source = source
        self.pipe = pipe
        self.pipe.set_progress_bar_config(disable=True)
        self.embed_dim = self._embed_dim()

    @abstractmethod
    def _embed_dim(self) -> int:
        """Read E from the pipeline's config."""

    @abstractmethod
    def _draw(self, embedded: Tensor, empty: Tensor, options: dict[str, Any]) -> Any:
        """Call the pipeline."""

    @torch.inference_mode()
    def draw(
        self, embedded: Tensor, empty: Tensor, seed: int = 0, steps: int = STEPS, **options: Any
    ) -> list[Image]:
        """Draw one picture for each embedding.

        Args:
            embedded: [B, E] as the image encoder gives them, not normalised.
            empty: [E], the embedding of a plain picture, which guidance leads away from.
            options: of the pipeline: `guidance_scale`, `height`, `width`, `prompt`.

        Raises:
            InputError: the embeddings have another width, or are not finite.
        """
        if embedded.ndim != 2 or embedded.shape[1] != self.embed_dim:
            raise InputError(
                f"{self.source} takes embeddings [B, {self.embed_dim}], found "
                f"{list(embedded.shape)}: use the foundation that it was trained with"
            )
        if not embedded.isfinite().all():
            raise InputError("an embedding is not finite")
        device = self.pipe.device
        # On the CPU, so that a seed draws the same noise on every device.
        generator = torch.Generator().manual_seed(seed)
        stated = {"generator": generator, "num_inference_steps": steps, **options}
        kind = self.pipe.unet.dtype
        return self._draw(embedded.to(device, kind), empty.to(device, kind), stated).images


class UnClip(Decoder):
    """Stable unCLIP. `noise_level` 0 keeps closest to the embedding."""

    def _embed_dim(self) -> int:
        # Its class embedding holds the embedding and as wide an embedding of the noise level.
        return self.pipe.unet.config.projection_class_embeddings_input_dim // 2

    def _draw(self, embedded: Tensor, empty: Tensor, options: dict[str, Any]) -> Any:
        prompts = [options.pop("prompt", "")] * len(embedded)
        return self.pipe(image=None, image_embeds=embedded, prompt=prompts, **options)


class Kandinsky(Decoder):
    """The decoder of Kandinsky 2.2; its prior is left out."""

    def _embed_dim(self) -> int:
        return self.pipe.unet.config.encoder_hid_dim

    def _draw(self, embedded: Tensor, empty: Tensor, options: dict[str, Any]) -> Any:
        away = empty.expand_as(embedded)
        return self.pipe(image_embeds=embedded, negative_image_embeds=away, **options)


class IpAdapter(Decoder):
    """Stable Diffusion with an IP-Adapter; a prompt may go with the embedding."""

    def _embed_dim(self) -> int:
        layer = self.pipe.unet.encoder_hid_proj.image_projection_layers[0]
        return layer.image_embeds.in_features

    def _draw(self, embedded: Tensor, empty: Tensor, options: dict[str, Any]) -> Any:
        guided = options.get("guidance_scale", 7.5) > 1
        # The adapter was trained with zeros in place of an absent picture, not with a plain one.
        parts = [torch.zeros_like(embedded), embedded] if guided else [embedded]
        prompts = [options.pop("prompt", "")] * len(embedded)
        given = [torch.cat(parts).unsqueeze(1)]
        return self.pipe(prompt=prompts, ip_adapter_image_embeds=given, **options)


_DECODERS: dict[str, type[Decoder]] = {
    "unclip": UnClip,
    "kandinsky": Kandinsky,
    "ip-adapter": IpAdapter,
}


def open_decoder(
    source: str | Path,
    spec: str,
    trunk: Trunk,
    *,
    encoder: str | Path | None = None,
    adapter: str | Path | None = None,
    device: str = "cpu",
) -> Decoder:
    """Check a decoder against a foundation, then open it; safetensors only.

    Args:
        source: folder or name of a pipeline of diffusers.
        spec, trunk: of the foundation whose embeddings it is to draw.
        encoder: folder of the image encoder it was trained with, where it does not lie beside it.
        adapter: the safetensors file of an IP-Adapter, on Stable Diffusion as `source`.

    Raises:
        ConfigError: diffusers is not installed, or it is no such pipeline.
        CheckpointError: it was trained with another foundation.
    """
    source = str(source)
    kind = kind_of(source)
    check_fit(source, spec, trunk, None if encoder is None else str(encoder))
    diffusers = require("diffusers", "imagine", "a decoder")
    try:
        pipe = diffusers.DiffusionPipeline.from_pretrained(
            source, use_safetensors=True, trust_remote_code=False, **_SLIM
        )
    except (OSError, ValueError) as error:
        raise ConfigError(f"{source} cannot be opened: {error}") from error
    if kind == "ip-adapter":
        _adapt(pipe, adapter)
    return _DECODERS[kind](source, pipe.to(device))


def _adapt(pipe: Any, adapter: str | Path | None) -> None:
    if adapter is None or Path(adapter).suffix != ".safetensors" or not Path(adapter).is_file():
        raise ConfigError(
            f"Stable Diffusion takes embeddings through an IP-Adapter: name its .safetensors file "
            f"(adapter=…); found {adapter}"
        )
    path = Path(adapter)
    try:
        pipe.load_ip_adapter(
            str(path.parent), subfolder="", weight_name=path.name, image_encoder_folder=None
        )
    except (KeyError, RuntimeError, ValueError) as error:
        raise CheckpointError(f"{adapter} does not fit the pipeline: {error}") from error
