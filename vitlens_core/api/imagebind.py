"""Models from ImageBind's published checkpoint.

Axes: B batch, S clips or side of a picture, E embedding.
Source: ImageBind (arXiv 2305.05665) appendix B.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

import torch

from vitlens_core.api.encoders import (
    ClipImages,
    ClipTexts,
    Embed,
    Encoder,
    SignalTower,
    picture_encoders,
    signal_encoder,
    text_encoder,
)
from vitlens_core.modalities import audio, depth, imu, thermal
from vitlens_core.modalities.base import AnyTokenizer, SignalConfig
from vitlens_core.models.imagebind import ImageBind
from vitlens_core.models.reference import IMAGEBIND_HUGE, load_imagebind
from vitlens_core.models.reference_config import (
    LOGIT_SCALES,
    ConfigSource,
    ImageBindConfig,
    read_config,
)
from vitlens_core.models.weights import read_weights

# Published tower names by modality, where they differ from the modality's name.
_TOWERS = {"image": "vision", "video": "vision"}
# ImageBind hears the first channel of a recording, not the mean of all.
_READER_OPTIONS = {"audio": {"channel": 0}}


def imagebind_encoders(
    path: Path, config: ConfigSource | None, wanted: Collection[str] | None, device: torch.device
) -> dict[str, Encoder]:
    """Load the ImageBind towers that a checkpoint holds; the default config is `IMAGEBIND_HUGE`.

    Raises:
        ConfigError: the config is not valid.
        CheckpointError: weights that do not fit the config.
    """
    model, sizes = _load(path, read_config(config or IMAGEBIND_HUGE, ImageBindConfig), wanted)
    model.to(device)

    def tower(name: str) -> Embed:
        return lambda signals: model.embed(name, signals.to(device))

    encoders = {}
    for modality, (signal, tokenizer) in _settings(sizes).items():
        embed = _mel_first(tower(modality)) if signal.in_clips else tower(modality)
        signal_tower = SignalTower(signal, tokenizer, embed)
        encoder = signal_encoder(modality, signal_tower, 1 / LOGIT_SCALES[modality])
        stated = _READER_OPTIONS.get(modality, {})
        preparation = replace(encoder.preparation, reader_options=stated)
        encoders[modality] = replace(encoder, preparation=preparation)
    # Vision has no scale of its own: similarities of pictures and text take the scale of text.
    temperature = 1 / LOGIT_SCALES["text"]
    if sizes.vision:
        pictures = ClipImages(tower("vision"))
        encoders |= picture_encoders(pictures, sizes.vision.image_size, temperature)
    if sizes.text:
        texts = ClipTexts(tower("text"), sizes.text.context_length, sizes.text.vocab_size)
        encoders["text"] = text_encoder(texts, temperature)
    return encoders


def _load(
    path: Path, sizes: ImageBindConfig, wanted: Collection[str] | None
) -> tuple[ImageBind, ImageBindConfig]:
    """Load the chosen towers, and return them with a config of them alone."""
    weights = read_weights(path)
    chosen = sizes.towers().keys() & {_tower_of(name) for name in weights}
    if wanted is not None:
        chosen &= {_TOWERS.get(name, name) for name in wanted}
    left_out = sizes.towers().keys() - chosen
    sizes = sizes.model_copy(update=dict.fromkeys(left_out))
    # Loading is strict: weights of towers that are left out would count as unexpected.
    chosen_weights = {n: t for n, t in weights.items() if _tower_of(n) not in left_out}
    model = load_imagebind(chosen_weights, sizes)
    assert isinstance(model, ImageBind)
    return model, sizes


def _tower_of(name: str) -> str:
    """Return the tower of a tensor's name: audio for `modality_trunks.audio.blocks…`."""
    return name.partition(".")[2].partition(".")[0]


def _settings(sizes: ImageBindConfig) -> dict[str, tuple[SignalConfig, AnyTokenizer]]:
    """Return signal and tokenizer of each modality with a tower, except pictures and text."""
    settings: dict[str, tuple[SignalConfig, AnyTokenizer]] = {}
    if sizes.audio:
        # ImageBind's own clip length, padding, mean and deviation.
        clips = audio.AudioSignal(
            clip_s=2.0, mel_bins=sizes.audio.mel_bins, frames=sizes.audio.target_len, short="pad"
        )
        settings["audio"] = clips, audio.AudioTokenizer(mean=-4.268, std=9.138)
    if sizes.depth:
        disparity = depth.DepthSignal(side_px=sizes.depth.image_size)
        settings["depth"] = disparity, depth.DepthTokenizer()
    if sizes.thermal:
        brightness = thermal.ThermalSignal(side_px=sizes.thermal.image_size)
        settings["thermal"] = brightness, thermal.ThermalTokenizer()
    if sizes.imu:
        settings["imu"] = imu.ImuSignal(length=sizes.imu.length), imu.ImuTokenizer()
    return settings


def _mel_first(tower: Embed) -> Embed:
    """Wrap a tower of [B, S, 1, mel, frames] so that it takes clips [B, S, frames, mel]."""
    return lambda clips: tower(clips.transpose(2, 3)[:, :, None])
