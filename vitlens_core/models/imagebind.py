"""ImageBind's six towers under their published names.

Reads, per modality, one batch of signals:

    vision   [B, 3, 224, 224], or clips of images or of 2-frame videos [B, S, 3, (2,) 224, 224]
    text     token ids [B, 77]
    audio    clips of mel spectrograms [B, S, 1, mel, frames]
    depth    disparity [B, 1, 224, 224]
    thermal  [B, 1, 224, 224]
    imu      accelerometer and gyroscope [B, 6, 2000]

Returns embeddings [B, E], normalised and multiplied by the modality's logit scale; clips are
embedded one by one and then averaged.

Axes: B batch, S clips, T tokens, D width, E embedding.
Source: ImageBind (arXiv 2305.05665) §3 and appendix B.
"""

import math
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vitlens_core.errors import InputError
from vitlens_core.models.attention import SelfAttention
from vitlens_core.models.imagebind_inputs import build_preprocessor
from vitlens_core.models.reference_config import LOGIT_SCALES, ImageBindConfig, ImageBindTower
from vitlens_core.models.text import at_end_of_text

# The published trunks and heads have this; the stems have torch's default, 1e-5.
NORM_EPS = 1e-6
MAX_LOGIT_SCALE = 100.0
# Vision and text start from OpenCLIP's weights, which have no learned key and value.
WITHOUT_BIAS_KV = ("vision", "text")
# The published mask is not loaded: attention here is causal by a flag.
RECOMPUTED_BUFFERS = ("modality_preprocessors.text.mask",)


class FeedForward(nn.Module):
    """Linear, GELU, linear, with a hidden width of 4 D. [B, T, D] → same."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, 4 * width)
        self.fc2 = nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(x)))


class Block(nn.Module):
    """Pre-norm attention and feed-forward, each with its residual. [B, T, D] → same."""

    def __init__(self, width: int, heads: int, *, causal: bool, bias_kv: bool) -> None:
        super().__init__()
        self.attn = SelfAttention(width, heads, causal=causal, bias_kv=bias_kv)
        self.mlp = FeedForward(width)
        self.norm_1 = nn.LayerNorm(width, eps=NORM_EPS)
        self.norm_2 = nn.LayerNorm(width, eps=NORM_EPS)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.norm_1(x))
        return x + self.mlp(self.norm_2(x))


class ModalityTransformer(nn.Module):
    """The transformer of one modality; vision's alone begins with a norm. [B, T, D] → same."""

    def __init__(self, modality: str, sizes: ImageBindTower) -> None:
        super().__init__()
        width = sizes.embed_dim
        pre_norm = nn.LayerNorm(width, eps=NORM_EPS) if modality == "vision" else nn.Identity()
        self.pre_transformer_layer = nn.Sequential(pre_norm)
        self.blocks = nn.Sequential(
            *(
                Block(
                    width,
                    sizes.heads,
                    causal=modality == "text",
                    bias_kv=modality not in WITHOUT_BIAS_KV,
                )
                for _ in range(sizes.blocks)
            )
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.blocks(self.pre_transformer_layer(x))


class TextHead(nn.Module):
    """Norm and projection under the name that text alone publishes. [B, D] → [B, E]."""

    def __init__(self, width: int, embed_dim: int) -> None:
        super().__init__()
        self.proj = nn.Sequential(
            nn.LayerNorm(width, eps=NORM_EPS), nn.Linear(width, embed_dim, bias=False)
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.proj(x)


class Normalize(nn.Module):
    """Unit length. [B, E] → same."""

    def forward(self, x: Tensor) -> Tensor:
        return F.normalize(x, dim=-1)


class LogitScale(nn.Module):
    """Multiplies by exp(log_logit_scale), at most 100; learned for text only. [B, E] → same."""

    log_logit_scale: Tensor

    def __init__(self, scale: float, *, learnable: bool) -> None:
        super().__init__()
        log_scale = torch.tensor(math.log(scale))
        if learnable:
            self.log_logit_scale = nn.Parameter(log_scale)
        else:
            self.register_buffer("log_logit_scale", log_scale)

    def forward(self, x: Tensor) -> Tensor:
        return self.log_logit_scale.exp().clamp(max=MAX_LOGIT_SCALE) * x


def _build_head(modality: str, width: int, embed_dim: int) -> nn.Module:
    """Build norm and projection of the token that stands for the signal. [B, D] → [B, E]."""
    if modality == "text":
        return TextHead(width, embed_dim)
    # Layers without weights, kept because published names count them: choosing CLS, IMU's dropout.
    between = [nn.Identity(), nn.Dropout(0.5)] if modality == "imu" else [nn.Identity()]
    projection = nn.Linear(width, embed_dim, bias=False)
    return nn.Sequential(nn.LayerNorm(width, eps=NORM_EPS), *between, projection)


def _build_postprocessor(modality: str) -> nn.Module:
    if modality == "vision":
        return Normalize()
    scale = LogitScale(LOGIT_SCALES[modality], learnable=modality == "text")
    return nn.Sequential(Normalize(), scale)


class ImageBind(nn.Module):
    """The towers that the config names; see the module's docstring for what each reads."""

    def __init__(self, config: ImageBindConfig) -> None:
        super().__init__()
        towers = config.towers()
        embed_dim = config.out_embed_dim
        self.modality_preprocessors = nn.ModuleDict(
            {name: build_preprocessor(name, sizes) for name, sizes in towers.items()}
        )
        self.modality_trunks = nn.ModuleDict(
            {name: ModalityTransformer(name, sizes) for name, sizes in towers.items()}
        )
        self.modality_heads = nn.ModuleDict(
            {name: _build_head(name, sizes.embed_dim, embed_dim) for name, sizes in towers.items()}
        )
        self.modality_postprocessors = nn.ModuleDict(
            {name: _build_postprocessor(name) for name in towers}
        )

    def forward(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Embed signals by modality: embeddings [B, E] by modality.

        Raises:
            InputError: a modality has no tower, or a signal has another shape.
        """
        return {name: self.embed(name, signal) for name, signal in inputs.items()}

    def embed(self, modality: str, signal: Tensor) -> Tensor:
        """Embed one modality's signals: [B, E]. Raises InputError as `forward` does."""
        if modality not in self.modality_trunks:
            raise InputError(
                f"no tower for {modality!r}; choose from {', '.join(self.modality_trunks)}"
            )
        # Clips have an axis more than pictures; short videos [3, 2, H, W] always come as clips.
        if signal.ndim < 5:
            return self._embed_each(modality, signal)
        clips = self._embed_each(modality, signal.flatten(0, 1))
        return clips.unflatten(0, signal.shape[:2]).mean(dim=1)

    def _embed_each(self, modality: str, signal: Tensor) -> Tensor:
        """Embed signals without a clip axis: [B, E]."""
        x = self.modality_trunks[modality](self.modality_preprocessors[modality](signal))
        state = at_end_of_text(x, signal) if modality == "text" else x[:, 0]
        return self.modality_postprocessors[modality](self.modality_heads[modality](state))
