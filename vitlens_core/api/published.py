"""Models from the published checkpoints of ViT-Lens and of its variant for OpenShape's triplets.

Signals are prepared as in the paper; its numbers are the defaults of `vitlens_core.modalities`.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import torch
from torch import Tensor

from vitlens_core.api.encoders import (
    ClipImages,
    ClipTexts,
    Embed,
    Encoder,
    SignalTower,
    on_device,
    picture_encoders,
    signal_encoder,
    text_encoder,
)
from vitlens_core.errors import ConfigError
from vitlens_core.modalities import audio, depth, eeg, point_cloud, tactile
from vitlens_core.modalities.base import AnyTokenizer, SignalConfig
from vitlens_core.models.reference import (
    PREFIX,
    VITLENS_L,
    load_openshape_tower,
    load_towers,
)
from vitlens_core.models.reference_config import (
    ConfigSource,
    OpenShapeConfig,
    VitLensConfig,
    read_config,
)
from vitlens_core.models.tower import mean_of_clips
from vitlens_core.models.weights import read_weights

# CLIP's learnt logit scale ends at its bound of 100; ViT-Lens publishes no other.
CLIP_TEMPERATURE = 0.01
# Touch is stored this much larger than the tower sees it, so that training can crop.
_TACTILE_MARGIN = 8 / 7
# Published tower names by modality, where they differ from the modality's name.
_TOWERS = {"point_cloud": "pc", "video": "image"}


def vitlens_encoders(
    path: Path, config: ConfigSource | None, wanted: Collection[str] | None, device: torch.device
) -> dict[str, Encoder]:
    """Load the ViT-Lens towers that a checkpoint holds; the default config is `VITLENS_L`.

    Raises:
        ConfigError: the config has no section for a tower.
        CheckpointError: the weights do not fit the config.
    """
    sizes = read_config(config or VITLENS_L, VitLensConfig)
    weights = read_weights(path)
    # The second part of a tensor's name is its tower: vitlens.<tower>.…
    only = {name.split(".")[1] for name in weights if name.startswith(PREFIX)}
    if wanted is not None:
        only &= {_TOWERS.get(name, name) for name in wanted}
    towers = {
        name: on_device(tower, device)
        for name, tower in load_towers(weights, sizes, only=only).items()
    }
    encoders = {
        modality: signal_encoder(
            modality,
            SignalTower(signal, tokenizer, _clipwise(towers[name], signal)),
            CLIP_TEMPERATURE,
        )
        for modality, (signal, tokenizer) in _settings(sizes).items()
        if (name := _TOWERS.get(modality, modality)) in towers
    }
    if "image" in towers:
        pictures = ClipImages(towers["image"])
        encoders |= picture_encoders(pictures, sizes.vit.image_size, CLIP_TEMPERATURE)
    if sizes.text and "text" in towers:
        texts = ClipTexts(towers["text"], sizes.text.context_length, sizes.text.vocab_size)
        encoders["text"] = text_encoder(texts, CLIP_TEMPERATURE)
    return encoders


def _settings(sizes: VitLensConfig) -> dict[str, tuple[SignalConfig, AnyTokenizer]]:
    """Return signal and tokenizer of each modality that the config has a tower for."""
    side_px = sizes.vit.image_size
    stored_px = round(side_px * _TACTILE_MARGIN)
    settings: dict[str, tuple[SignalConfig, AnyTokenizer]] = {
        "depth": (depth.DepthSignal(side_px=side_px), depth.DepthTokenizer()),
        "tactile": (
            tactile.TactileSignal(side_px=stored_px),
            tactile.TactileTokenizer(crop_px=side_px),
        ),
        "point_cloud": _clouds(point_cloud.ULIP),
    }
    if sizes.audio:
        clips = audio.AudioSignal(
            mel_bins=sizes.audio.mel_bins, frames=sizes.audio.target_length, short="repeat"
        )
        settings["audio"] = clips, audio.AudioTokenizer()
    if sizes.eeg:
        electrodes = eeg.EegSignal(channels=sizes.eeg.chans)
        settings["eeg"] = electrodes, eeg.EegTokenizer(length=sizes.eeg.time_len)
    return settings


def _clouds(
    protocol: point_cloud.PointCloudTokenizer,
) -> tuple[point_cloud.PointCloudSignal, point_cloud.PointCloudTokenizer]:
    """Return signal and tokenizer of a protocol; no more points are stored than it sees."""
    return protocol.signal_needed(point_cloud.PointCloudSignal()), protocol


def _clipwise(tower: Embed, signal: SignalConfig) -> Embed:
    """Average a tower over clips, if the signal is a series of clips."""

    def embed(clips: Tensor) -> Tensor:
        return mean_of_clips(tower, clips)

    return embed if signal.in_clips else tower


def openshape_encoders(
    path: Path, config: ConfigSource | None, _wanted: Collection[str] | None, device: torch.device
) -> dict[str, Encoder]:
    """Load the one tower, which encodes coloured point clouds.

    Raises:
        ConfigError: the config is missing; weights do not tell the number of heads.
        CheckpointError: the weights do not fit the config.
    """
    if config is None:
        raise ConfigError("an OpenShape checkpoint needs `config`: its sizes (JSON or a mapping)")
    tower = on_device(load_openshape_tower(path, read_config(config, OpenShapeConfig)), device)
    signal_tower = SignalTower(*_clouds(point_cloud.OPENSHAPE), tower)
    return {"point_cloud": signal_encoder("point_cloud", signal_tower, CLIP_TEMPERATURE)}
