"""The tower of a modality: tokenizer → lens → frozen trunk (→ trained head) → embedding.

`build_tower` builds one from its settings (`tower_settings`).

Axes: B batch, S clips, T tokens, P prefix tokens, L latents, K taps, W width, E embedding.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vitlens_core.errors import CheckpointError, ConfigError
from vitlens_core.models.dropping import Dropping
from vitlens_core.models.head import build_head
from vitlens_core.models.lens import IdentityLens, build_lens
from vitlens_core.models.random_trunk import randomise
from vitlens_core.models.tokenizers import PatchTokenizer
from vitlens_core.models.tower_settings import TowerSettings
from vitlens_core.models.trunk import ProjectedReadout, Trunk
from vitlens_core.models.weights import digest_of_tensors
from vitlens_core.models.wrapped_trunks import load_trunk
from vitlens_core.network_settings import TrunkSettings


def build_tower(settings: TowerSettings, trunk: Trunk, *, pretrained: bool = True) -> Tower:
    """Build a tower with random weights on a copy of the foundation's trunk, or of another.

    Args:
        trunk: the foundation's; if the settings name another, it states the width of the space.
        pretrained: whether another trunk gets its weights; without them only sizes are right.

    Raises:
        ConfigError: the settings do not fit the trunk (width, patches, blocks, latents), or the
            weights of another trunk are not to be found.
    """
    readout = trunk.readout
    assert isinstance(readout, ProjectedReadout)
    embed_dim = readout.sizes[1]
    if settings.trunk.model is not None:
        trunk, readout = _another_trunk(settings, pretrained=pretrained)
    signal, of_tokens = settings.signal_config, settings.tokenizer_config
    lens = build_lens(settings.lens, trunk.width, of_tokens.width)
    tokenizer = of_tokens.build(signal)
    if of_tokens.starts_as_patches:
        _start_as_patches(tokenizer, trunk)
    tokens = settings.input_tokens(trunk.input_tokens)
    # A trained head takes the place of the foundation's projection.
    if settings.head != "frozen":
        trunk = trunk.with_readout(readout.unprojected)
    frozen = _unlocked(trunk, settings.trunk, tokens)
    head = build_head(settings.head, readout.sizes[0], embed_dim)
    return Tower(tokenizer, lens, frozen, head, in_clips=signal.in_clips)


def _another_trunk(settings: TowerSettings, *, pretrained: bool) -> tuple[Trunk, ProjectedReadout]:
    """Load the trunk that the settings name instead of the foundation's."""
    assert settings.trunk.model is not None
    trunk = load_trunk(settings.trunk.model, weights=pretrained)
    assert isinstance(trunk.readout, ProjectedReadout)
    return trunk, trunk.readout


def _unlocked(trunk: Trunk, settings: TrunkSettings, tokens: int) -> Trunk:
    """Fit a trunk to `tokens` input tokens, and freeze all of it that `settings` do not unlock."""
    trunk = trunk.without_blocks(settings.skip_first, settings.skip_last).resized(tokens)
    # A copy: the foundation's own blocks must not change when some are trained here.
    trunk = copy.deepcopy(trunk).requires_grad_(False)
    if settings.random is not None:
        randomise(trunk, settings.random)
    if trunk.cls_token is not None:
        trunk.cls_token.requires_grad_(settings.unlock_cls)
    elif settings.unlock_cls:
        raise ConfigError("lens.trunk.unlock_cls: this trunk has no CLS token; leave it false")
    trunk.positions.requires_grad_(settings.unlock_positions)
    trunk.norm_pre.requires_grad_(settings.unlock_norm_pre)
    blocks = list(trunk.blocks)
    last = blocks[-settings.unlock_last :] if settings.unlock_last else []
    for block in [*blocks[: settings.unlock_first], *last]:
        block.requires_grad_(True)
    if last:
        for norm in trunk.readout.norms():
            norm.requires_grad_(True)
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

    def forward(
        self, signal: Tensor, dropping: Dropping | None = None, *, with_tokens: bool = False
    ) -> Tensor | tuple[Tensor, Tensor]:
        """Embed prepared signals [B, …]: unit norm, [B, E].

        The embedding of a signal in clips [B, S, …] is the mean of its clips' embeddings, which
        are averaged before they are normalised.

        Args:
            dropping: what a training step leaves out of each signal.
            with_tokens: give the trunk's tokens [B, P+T, W] after its last block and norm too, of
                signals without clips; no token is left out then.
        """
        if with_tokens:
            assert not self.in_clips, "the settings are checked before"
            found, tokens = self.trunk.with_tokens(self.lens(self.tokenizer(signal)), dropping)
            return F.normalize(self.head(found), dim=-1), tokens
        if not self.in_clips:
            return F.normalize(self.embed(signal, dropping), dim=-1)
        of_clips = dropping.repeated(signal.shape[1]) if dropping else None
        embedded = mean_of_clips(lambda clips: self.embed(clips, of_clips), signal)
        return F.normalize(embedded, dim=-1)

    def embed(self, signal: Tensor, dropping: Dropping | None = None) -> Tensor:
        """Embed signals [B, …] without a clip axis: [B, E], not normalised."""
        tokens = self.tokenizer(signal)
        if dropping is None:
            return self.head(self.trunk(self.lens(tokens)))
        # An identity lens hands on as many tokens as the tokenizer makes.
        is_identity = isinstance(self.lens, IdentityLens)
        total = tokens.shape[1] if is_identity else self.trunk.input_tokens
        kept = dropping.kept_tokens(total)
        return self.head(self.trunk(self.lens(tokens, kept), kept, total, dropping))

    def inputs(self, signal: Tensor) -> Tensor:
        """Return what the trunk is fed for signals [B, …]: [B, T, W], without positions.

        The tokens of a signal in clips [B, S, …] follow each other: [B, S·T, W].
        """
        return self._per_clip(lambda clips: self.lens(self.tokenizer(clips)), signal)

    def states(self, signal: Tensor, taps: Sequence[int] = (-1,)) -> Tensor:
        """Return the trunk's tokens of signals [B, …] after the blocks at `taps`.

        Returns:
            [B, K, P+T, W] of K taps, neither normed nor pooled; P is 1 if the trunk has a CLS
            token. The tokens of a signal in clips follow each other.

        Raises:
            ConfigError: the trunk has no such block.
        """

        def of_clip(clip: Tensor) -> Tensor:
            tokens = self.lens(self.tokenizer(clip))
            return torch.stack(self.trunk.states([tokens], taps), dim=2)

        return self._per_clip(of_clip, signal).movedim(2, 1)

    def _per_clip(self, of_clip: Callable[[Tensor], Tensor], signal: Tensor) -> Tensor:
        """Apply `of_clip` to every clip, and put the tokens [B, T, …] of a signal's together."""
        if not self.in_clips:
            return of_clip(signal)
        clips = of_clip(signal.flatten(0, 1))
        return clips.unflatten(0, signal.shape[:2]).flatten(1, 2)

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

    def frozen_digest(self) -> str:
        """Return the digest of the trunk's frozen tensors, which a lens checkpoint lacks."""
        trained = self.trained_state()
        frozen = {
            n: t for n, t in self.trunk.state_dict(prefix="trunk.").items() if n not in trained
        }
        return digest_of_tensors(frozen)

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
