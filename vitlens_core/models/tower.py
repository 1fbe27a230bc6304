"""The tower of a modality: tokenizer → lens → frozen trunk (→ trained head) → embedding.

Axes: B batch, S clips, T tokens, L latents, W width, E embedding.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping
from typing import Any, Literal

import torch
import torch.nn.functional as F
from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator
from torch import Tensor, nn

from vitlens_core import modalities
from vitlens_core.errors import CheckpointError, ConfigError
from vitlens_core.models.head import Head, build_head
from vitlens_core.models.lens import IdentityLens, PerceiverLens
from vitlens_core.models.tokenizers import PatchTokenizer
from vitlens_core.models.trunk import ProjectedReadout, Trunk
from vitlens_core.signals.settings import SignalSettings


class LensSettings(BaseModel):
    """Shape of the lens."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["perceiver", "identity"] = "perceiver"
    latents: int = Field(256, ge=1, description="latents, so tokens of the trunk; a square")
    depth: int = Field(4, ge=1, description="cross-attention layers")
    self_per_cross: int = Field(1, ge=0, description="self-attention layers after each")
    cross_heads: int = Field(1, ge=1)
    cross_dim_head: int = Field(64, ge=1)
    latent_heads: int = Field(16, ge=1)
    latent_dim_head: int = Field(64, ge=1)
    tie_weights: bool = Field(False, description="layers 1.. share one set of weights")

    def build(self, trunk_width: int, token_width: int) -> nn.Module:
        """The lens from tokens to the trunk's width; `ConfigError` if identity cannot fit."""
        if self.kind == "identity":
            if token_width != trunk_width:
                raise ConfigError(
                    f"an identity lens hands tokens of width {token_width} to a trunk of width "
                    f"{trunk_width}; set the tokenizer's width to {trunk_width}"
                )
            return IdentityLens()
        return PerceiverLens(
            trunk_width,
            token_width,
            num_latents=self.latents,
            depth=self.depth,
            latent_heads=self.latent_heads,
            latent_dim_head=self.latent_dim_head,
            cross_heads=self.cross_heads,
            cross_dim_head=self.cross_dim_head,
            self_per_cross=self.self_per_cross,
            tie_weights=self.tie_weights,
        )


class TrunkSettings(BaseModel):
    """Which of the trunk's blocks the lens uses, and what of it is trained after all."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    skip_first: int = Field(0, ge=0, description="blocks dropped at the start")
    skip_last: int = Field(0, ge=0, description="blocks dropped at the end")
    unlock_cls: bool = Field(False, description="train the CLS token")
    unlock_positions: bool = Field(False, description="train the positional table")
    unlock_norm_pre: bool = Field(False, description="train the norm before the blocks")
    unlock_first: int = Field(0, ge=0, description="blocks, from the first kept, to train")

    def apply(self, trunk: Trunk, tokens: int) -> Trunk:
        """A frozen trunk for `tokens` input tokens, unlocked as the plan says."""
        trunk = trunk.without_blocks(self.skip_first, self.skip_last).resized(tokens)
        # The foundation's own copy stays as it is, whatever is trained here.
        trunk = copy.deepcopy(trunk).requires_grad_(False)
        trunk.cls_token.requires_grad_(self.unlock_cls)
        trunk.positions.requires_grad_(self.unlock_positions)
        trunk.norm_pre.requires_grad_(self.unlock_norm_pre)
        for block in list(trunk.blocks)[: self.unlock_first]:
            block.requires_grad_(True)
        return trunk


class TowerSettings(BaseModel):
    """Everything that determines a tower beside its foundation and its weights."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    modality: str
    tokenizer: dict[str, Any] = Field(
        default_factory=dict, validate_default=True, description="see the modality's file"
    )
    lens: LensSettings = LensSettings()
    trunk: TrunkSettings = TrunkSettings()
    head: Head = "frozen"

    @field_validator("tokenizer")
    @classmethod
    def _complete(cls, value: dict[str, Any], info: ValidationInfo) -> dict[str, Any]:
        """Checked by the modality, and spelled out so that checkpoints keep its defaults."""
        if "modality" not in info.data:  # missing: said by its own field
            return value
        return modalities.load_lensed(info.data["modality"]).Tokenizer(**value).model_dump()

    @property
    def signal(self) -> SignalSettings:
        """The modality's tokenizer settings: `store`, `prepare`, `augment` and `build`."""
        return modalities.load_lensed(self.modality).Tokenizer(**self.tokenizer)

    @classmethod
    def of(cls, modality: str, **settings: Any) -> TowerSettings:
        """The tower ViT-Lens trained for a modality, but for `settings`.

        Raises:
            ConfigError: unknown, or encoded by the foundation itself.
        """
        module = modalities.load_lensed(modality)
        given = {"lens": module.LENS, "trunk": module.TRUNK, **settings}
        return cls.model_validate({"modality": modality, **given})

    def build(self, trunk: Trunk) -> Tower:
        """A fresh tower on a copy of the foundation's trunk.

        Raises:
            ConfigError: settings that do not fit the trunk (width, patches, blocks, latents).
        """
        signal = self.signal
        lens = self.lens.build(trunk.width, signal.width)
        tokenizer = signal.build()
        if signal.starts_as_patches:
            _start_as_patches(tokenizer, trunk)
        tokens = self.lens.latents if self.lens.kind == "perceiver" else len(trunk.positions) - 1
        readout = trunk.readout
        assert isinstance(readout, ProjectedReadout)
        if self.head != "frozen":
            trunk = trunk.with_readout(readout.unprojected)
        frozen = self.trunk.apply(trunk, tokens)
        head = build_head(self.head, *readout.sizes)
        return Tower(tokenizer, lens, frozen, head, in_clips=signal.in_clips)


class Tower(nn.Module):
    """One modality's encoder into the foundation's space.

    Frozen parts stay in evaluation mode; `trained_state` names exactly what a lens
    checkpoint holds.
    """

    def __init__(
        self,
        tokenizer: nn.Module,
        lens: nn.Module,
        trunk: Trunk,
        head: nn.Module,
        *,
        in_clips: bool = False,
    ) -> None:
        super().__init__()
        self.in_clips = in_clips
        self.tokenizer = tokenizer
        self.lens = lens
        self.trunk = trunk
        self.head = head
        self.log_scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))

    def forward(self, signal: Tensor) -> Tensor:
        """The modality's prepared signal [B, …] → unit-norm embeddings [B, E].

        A signal in clips [B, S, …] gets the mean of its clips' embeddings, taken before
        normalising.
        """
        embedded = mean_of_clips(self.embed, signal) if self.in_clips else self.embed(signal)
        return F.normalize(embedded, dim=-1)

    def embed(self, signal: Tensor) -> Tensor:
        """[B, …] without a clip axis → [B, E], not normalised."""
        return self.head(self.trunk(self.lens(self.tokenizer(signal))))

    def train(self, mode: bool = True) -> Tower:
        """Training mode for the trained parts; the trunk has nothing that differs by mode."""
        super().train(mode)
        self.trunk.eval()
        return self

    def trained_state(self) -> dict[str, Tensor]:
        """Trained tensors and the buffers of trained modules (batch norm), by name.

        A tensor that several layers share is named once, by the first of them.
        """
        trained = {name for name, p in self.named_parameters() if p.requires_grad}
        parameters = {name for name, _ in self.named_parameters(remove_duplicate=False)}
        return {
            name: tensor
            for name, tensor in self.state_dict().items()
            if name in trained or (name not in parameters and not name.startswith("trunk."))
        }

    def load_trained_state(self, state: Mapping[str, Tensor]) -> None:
        """Take exactly the tensors `trained_state` names (`CheckpointError`)."""
        expected, given = set(self.trained_state()), set(state)
        if expected != given:
            raise CheckpointError(
                f"lens weights do not fit: missing {sorted(expected - given)[:5]}, "
                f"unexpected {sorted(given - expected)[:5]}"
            )
        try:
            self.load_state_dict(dict(state), strict=False)
        except RuntimeError as error:
            raise CheckpointError(f"lens weights do not fit: {error}") from error


def _start_as_patches(tokenizer: nn.Module, trunk: Trunk) -> None:
    """Give a tokenizer of RGB patches the kernel of the trunk's own patch embedding."""
    assert isinstance(tokenizer, PatchTokenizer)
    weight, kernel = tokenizer.conv1.weight, trunk.patch_kernel
    if kernel is None or kernel.shape != weight.shape:
        found = "no patches of RGB" if kernel is None else f"patches of {list(kernel.shape)}"
        raise ConfigError(
            f"the tokenizer starts from the trunk's patch embedding: expected {found}, as the "
            f"trunk has, but its settings give {list(weight.shape)}; fit patch_px and width"
        )
    with torch.no_grad():
        weight.copy_(kernel)


def mean_of_clips(embed: Callable[[Tensor], Tensor], clips: Tensor) -> Tensor:
    """Clips [B, S, …] → the mean over S of what `embed` makes of each, [B, E]."""
    return embed(clips.flatten(0, 1)).unflatten(0, clips.shape[:2]).mean(dim=1)
