"""Builds the published ViT-Lens and ImageBind towers from sizes, and loads them strictly.

Reads weights under their published names (a .safetensors or .pt file, or tensors by name) and
a config (JSON, a mapping, or one of the ready-made `VITLENS_L`, `IMAGEBIND_HUGE`). Returns
modules in evaluation mode whose outputs equal those of the published implementations in fp32.

    with torch.device("meta"):
        names = build_towers(VITLENS_L)["pc"].state_dict()   # no memory taken
    towers = load_towers("vitlensL.pt", VITLENS_L)
    embedding = towers["pc"](points)                         # [B, 8192, 3] → [B, 768]

Inputs of the ViT-Lens towers, axes as in `tokenizers`: image and tactile [B, 3, H, H]; text
ids [B, T]; pc [B, N, 3]; depth [B, 1, H, H]; audio [B, frames, mel]; eeg [B, channels, time].
"""

from collections.abc import Collection

import torch
from torch import nn

from vitlens_core.errors import ConfigError
from vitlens_core.models.imagebind import RECOMPUTED_BUFFERS, ImageBind
from vitlens_core.models.lens import IdentityLens, PerceiverLens
from vitlens_core.models.published import IMAGEBIND_HUGE, VITLENS_L
from vitlens_core.models.reference_config import (
    AudioSizes,
    ConfigSource,
    EegSizes,
    ImageBindConfig,
    LensDepth,
    LensSizes,
    OpenShapeConfig,
    PointCloudSizes,
    VitLensConfig,
    VitSizes,
    read_config,
)
from vitlens_core.models.text import ClipText
from vitlens_core.models.tokenizers import (
    PatchTokenizer,
    PointBertTokenizer,
    SeriesTokenizer,
    SetAbstractionTokenizer,
    SpectrogramTokenizer,
)
from vitlens_core.models.vit import ImageVit, LensVit
from vitlens_core.models.weights import Weights, load_strictly, read_weights

__all__ = [
    "IMAGEBIND_HUGE",
    "VITLENS_L",
    "build_imagebind",
    "build_openshape_tower",
    "build_towers",
    "load_imagebind",
    "load_openshape_tower",
    "load_towers",
]

PREFIX = "vitlens."


def _perceiver(
    lens: LensSizes, *, context_width: int, depth: int, self_per_cross: int
) -> PerceiverLens:
    return PerceiverLens(
        lens.latent_dim,
        context_width,
        num_latents=lens.num_latents,
        depth=depth,
        latent_heads=lens.latent_heads,
        latent_dim_head=lens.latent_dim_head,
        cross_heads=lens.cross_heads,
        cross_dim_head=lens.cross_dim_head,
        self_per_cross=self_per_cross,
    )


def _point_cloud_tokenizer(sizes: PointCloudSizes) -> PointBertTokenizer:
    return PointBertTokenizer(
        num_groups=sizes.num_group,
        group_size=sizes.group_size,
        encoder_dim=sizes.encoder_dims,
        width=sizes.trans_dim,
    )


def _depth_tokenizer(vit: VitSizes) -> PatchTokenizer:
    size = (vit.image_size, vit.image_size)
    return PatchTokenizer(width=vit.width, patch=vit.patch, size=size, in_channels=1)


def _audio_tokenizer(sizes: AudioSizes, vit: VitSizes) -> SpectrogramTokenizer:
    return SpectrogramTokenizer(
        width=vit.width,
        patch=vit.patch,
        mel_bins=sizes.mel_bins,
        frames=sizes.target_length,
        stride=(sizes.fstride, sizes.tstride),
    )


def _eeg_tokenizer(sizes: EegSizes, vit: VitSizes) -> SeriesTokenizer:
    return SeriesTokenizer(
        width=vit.width,
        in_channels=sizes.chans,
        length=sizes.time_len,
        window=sizes.window_size,
        stride=sizes.stride,
    )


def _lens_towers(config: VitLensConfig, lens: LensSizes) -> dict[str, nn.Module]:
    """Build the towers whose tokens pass through a Perceiver lens."""
    vit = config.vit
    parts: dict[str, tuple[nn.Module, LensDepth, int]] = {}
    if config.pc:
        parts["pc"] = (_point_cloud_tokenizer(config.pc), config.pc, config.pc.trans_dim)
    if config.audio:
        parts["audio"] = (_audio_tokenizer(config.audio, vit), config.audio, vit.width)
    if config.eeg:
        parts["eeg"] = (_eeg_tokenizer(config.eeg, vit), config.eeg, vit.width)
    return {
        name: LensVit(
            tokenizer,
            _perceiver(
                lens,
                context_width=token_width,
                depth=sizes.lens_depth,
                self_per_cross=sizes.self_per_cross_attn,
            ),
            vit,
        )
        for name, (tokenizer, sizes, token_width) in parts.items()
    }


def build_towers(config: ConfigSource) -> dict[str, nn.Module]:
    """Build the ViT-Lens towers that a config has sections for, with random weights.

    Under `torch.device("meta")` they take no memory and show names and shapes only.

    Raises:
        ConfigError: the config is not valid.
    """
    config = read_config(config, VitLensConfig)
    vit = config.vit
    towers: dict[str, nn.Module] = {"image": ImageVit(vit)}
    if config.text:
        towers["text"] = ClipText(config.text, vit.embed_dim)
    if config.lens:
        towers |= _lens_towers(config, config.lens)
    if config.depth:
        towers["depth"] = LensVit(_depth_tokenizer(vit), IdentityLens(), vit)
    if config.tactile:
        # Touch is an RGB picture: the image tower with weights of its own.
        towers["tactile"] = ImageVit(vit)
    return towers


def load_towers(
    weights: Weights, config: ConfigSource, *, only: Collection[str] | None = None
) -> dict[str, nn.Module]:
    """Load the ViT-Lens towers with their published weights, in evaluation mode.

    Args:
        weights: tensors named `vitlens.<tower>.…`.
        only: the towers to load, to save memory; the weights of others are ignored.

    Raises:
        ConfigError: the config is not valid, or has no section for a tower in `only`.
        CheckpointError: names or shapes differ from those the config implies.
    """
    # On the meta device, random weights are neither drawn nor held beside the published ones.
    with torch.device("meta"):
        towers = build_towers(config)
    wanted = towers.keys() if only is None else set(only)
    if absent := sorted(wanted - towers.keys()):
        raise ConfigError(f"no section for {', '.join(absent)}; choose from {', '.join(towers)}")
    left_out = tuple(f"{PREFIX}{name}." for name in towers.keys() - wanted)
    tensors = {
        name: tensor
        for name, tensor in read_weights(weights).items()
        if not name.startswith(left_out)
    }
    # A module for each part of the published names: vitlens, then the tower.
    root = nn.ModuleDict({name: towers[name] for name in towers if name in wanted})
    load_strictly(nn.ModuleDict({PREFIX.rstrip("."): root}), tensors)
    return dict(root.eval().items())


def build_openshape_tower(config: ConfigSource) -> LensVit:
    """Build the 3D tower trained on OpenShape triplets, with random weights.

    Raises:
        ConfigError: the config is not valid.
    """
    config = read_config(config, OpenShapeConfig)
    sizes = config.tokenizer
    tokenizer = SetAbstractionTokenizer(
        num_groups=sizes.num_group,
        group_size=sizes.group_size,
        radius=sizes.radius,
        encoder_dim=sizes.encoder_dims,
        width=sizes.trans_dim,
        in_channels=sizes.in_channel,
    )
    lens = _perceiver(
        config.lens,
        context_width=sizes.trans_dim,
        depth=config.lens.depth,
        self_per_cross=config.lens.self_per_cross_attn,
    )
    return LensVit(tokenizer, lens, config.vit.trimmed())


def load_openshape_tower(weights: Weights, config: ConfigSource) -> nn.Module:
    """Load the OpenShape tower, xyz + rgb [B, N, 6] → [B, E], in evaluation mode.

    Raises:
        ConfigError: the config is not valid.
        CheckpointError: names or shapes differ from those the config implies.
    """
    with torch.device("meta"):
        tower = build_openshape_tower(config)
    return load_strictly(tower, read_weights(weights)).eval()


def build_imagebind(config: ConfigSource) -> ImageBind:
    """Build ImageBind with random weights.

    Raises:
        ConfigError: the config is not valid.
    """
    return ImageBind(read_config(config, ImageBindConfig))


def load_imagebind(weights: Weights, config: ConfigSource = IMAGEBIND_HUGE) -> nn.Module:
    """Load ImageBind with its published weights, in evaluation mode.

    Raises:
        ConfigError: the config is not valid.
        CheckpointError: names or shapes differ from those the config implies.
    """
    with torch.device("meta"):
        model = build_imagebind(config)
    tensors = read_weights(weights)
    return load_strictly(model, tensors, recomputed=RECOMPUTED_BUFFERS).eval()
