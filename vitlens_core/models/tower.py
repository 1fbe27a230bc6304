"""The tower of a modality: tokenizer → lens → frozen trunk (→ trained head) → embedding.

`build_tower` builds one from its settings (`tower_settings`).

Axes: B batch, S clips, T tokens, L latents, W width, E embedding.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vitlens_core.errors import CheckpointError, ConfigError
from vitlens_core.models.head import build_head
from vitlens_core.models.lens import build_lens
from vitlens_core.models.tokenizers import PatchTokenizer
from vitlens_core.models.tower_settings import TowerSettings
from vitlens_core.models.trunk import ProjectedReadout, Trunk
from vitlens_core.network_settings import TrunkSettings


def build_tower(settings: TowerSettings, trunk: Trunk) -> Tower:
    """Build a tower with random weights on a copy of the foundation's trunk.

    Raises:
        ConfigError: the settings do not fit the trunk (width, patches, blocks, latents).
    """
    signal, of_tokens = settings.signal_config, settings.tokenizer_config
    lens = build_lens(settings.lens, trunk.width, of_tokens.width)
    tokenizer = of_tokens.build(signal)
    if of_tokens.starts_as_patches:
        _start_as_patches(tokenizer, trunk)
    is_perceiver = settings.lens.kind == "perceiver"
    # An identity lens returns the tokenizer's patches, which follow the trunk's own grid.
    tokens = settings.lens.latents if is_perceiver else len(trunk.positions) - 1
    readout = trunk.readout
    assert isinstance(readout, ProjectedReadout)
    # A trained head takes the place of the foundation's projection.
    if settings.head != "frozen":
        trunk = trunk.with_readout(readout.unprojected)
    frozen = _unlocked(trunk, settings.trunk, tokens)
    head = build_head(settings.head, *readout.sizes)
    return Tower(tokenizer, lens, frozen, head, in_clips=signal.in_clips)


def _unlocked(trunk: Trunk, settings: TrunkSettings, tokens: int) -> Trunk:
    """Fit a trunk to `tokens` input tokens, and freeze all of it that `settings` do not unlock."""
    trunk = trunk.without_blocks(settings.skip_first, settings.skip_last).resized(tokens)
    # A copy: the foundation's own blocks must not change when some are trained here.
    trunk = copy.deepcopy(trunk).requires_grad_(False)
    trunk.cls_token.requires_grad_(settings.unlock_cls)
    trunk.positions.requires_grad_(settings.unlock_positions)
    trunk.norm_pre.requires_grad_(settings.unlock_norm_pre)
    for block in list(trunk.blocks)[: settings.unlock_first]:
        block.requires_grad_(True)
    return trunk


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
        # CLIP's initial temperature (arXiv 2103.00020, 2.5).
        self.log_scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))

    def forward(self, signal: Tensor) -> Tensor:
        """Embed prepared signals [B, …]: unit norm, [B, E].

        The embedding of a signal in clips [B, S, …] is the mean of its clips' embeddings, which
        are averaged before they are normalised.
        """
        embedded = mean_of_clips(self.embed, signal) if self.in_clips else self.embed(signal)
        return F.normalize(embedded, dim=-1)

    def embed(self, signal: Tensor) -> Tensor:
        """Embed signals [B, …] without a clip axis: [B, E], not normalised."""
        return self.head(self.trunk(self.lens(self.tokenizer(signal))))

    def train(self, mode: bool = True) -> Tower:
        """Set the mode of the trained parts; the trunk stays in evaluation mode."""
        super().train(mode)
        self.trunk.eval()
        return self

    def trained_state(self) -> dict[str, Tensor]:
        """Return trained tensors and the buffers of trained modules (batch norm), by name.

        A tensor that several layers share has the name of the first of them.
        """
        # `state_dict` names shared tensors once per layer, `named_parameters` only once.
        trained = {name for name, p in self.named_parameters() if p.requires_grad}
        # What is in neither set is a buffer.
        parameters = {name for name, _ in self.named_parameters(remove_duplicate=False)}
        return {
            name: tensor
            for name, tensor in self.state_dict().items()
            if name in trained or (name not in parameters and not name.startswith("trunk."))
        }

    def load_trained_state(self, state: Mapping[str, Tensor]) -> None:
        """Load exactly the tensors that `trained_state` names. Raises CheckpointError otherwise."""
        expected, loaded = set(self.trained_state()), set(state)
        if expected != loaded:
            raise CheckpointError(
                f"lens weights do not fit: missing {sorted(expected - loaded)[:5]}, "
                f"unexpected {sorted(loaded - expected)[:5]}"
            )
        # Not strict, since the frozen tensors are absent; the names were compared above.
        try:
            self.load_state_dict(dict(state), strict=False)
        except RuntimeError as error:
            raise CheckpointError(f"lens weights do not fit: {error}") from error


def _start_as_patches(tokenizer: nn.Module, trunk: Trunk) -> None:
    """Copy the kernel of the trunk's own patch embedding into a tokenizer of RGB patches."""
    assert isinstance(tokenizer, PatchTokenizer)
    weight, kernel = tokenizer.conv1.weight, trunk.patch_kernel
    if kernel is None or kernel.shape != weight.shape:
        patches = "no patches of RGB" if kernel is None else f"patches of {list(kernel.shape)}"
        raise ConfigError(
            f"the tokenizer starts from the trunk's patch embedding: expected {patches}, as the "
            f"trunk has, but its settings give {list(weight.shape)}; fit patch_px and width"
        )
    with torch.no_grad():
        weight.copy_(kernel)


def mean_of_clips(embed: Callable[[Tensor], Tensor], clips: Tensor) -> Tensor:
    """Embed each of the clips [B, S, …] and average over S: [B, E]."""
    return embed(clips.flatten(0, 1)).unflatten(0, clips.shape[:2]).mean(dim=1)
