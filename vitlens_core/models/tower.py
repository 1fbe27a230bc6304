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
from vitlens_core.models.settings import TrunkSettings
from vitlens_core.models.tokenizers import PatchTokenizer
from vitlens_core.models.tower_settings import TowerSettings
from vitlens_core.models.trunk import ProjectedReadout, Trunk


def build_tower(settings: TowerSettings, trunk: Trunk) -> Tower:
    """A fresh tower on a copy of the foundation's trunk.

    Raises:
        ConfigError: settings that do not fit the trunk (width, patches, blocks, latents).
    """
    signal, of_tokens = settings.signal_config, settings.tokenizer_config
    lens = build_lens(settings.lens, trunk.width, of_tokens.width)
    tokenizer = of_tokens.build(signal)
    if of_tokens.starts_as_patches:
        _start_as_patches(tokenizer, trunk)
    is_perceiver = settings.lens.kind == "perceiver"
    tokens = settings.lens.latents if is_perceiver else len(trunk.positions) - 1
    readout = trunk.readout
    assert isinstance(readout, ProjectedReadout)
    if settings.head != "frozen":
        trunk = trunk.with_readout(readout.unprojected)
    frozen = _unlocked(trunk, settings.trunk, tokens)
    head = build_head(settings.head, *readout.sizes)
    return Tower(tokenizer, lens, frozen, head, in_clips=signal.in_clips)


def _unlocked(trunk: Trunk, settings: TrunkSettings, tokens: int) -> Trunk:
    """A frozen trunk for `tokens` input tokens, unlocked as the settings say."""
    trunk = trunk.without_blocks(settings.skip_first, settings.skip_last).resized(tokens)
    # The foundation's own copy stays as it is, whatever is trained here.
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
