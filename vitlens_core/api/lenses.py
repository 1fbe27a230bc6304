"""Models from lens checkpoints of one foundation, and the foundation's own modalities."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from vitlens_core.api.encoders import (
    Encoder,
    foundation_encoders,
    on_device,
    signal_encoder,
)
from vitlens_core.checkpoint import load_lens, read_settings
from vitlens_core.errors import CheckpointError, ConfigError
from vitlens_core.foundation import Foundation, LitFoundation, load_foundation
from vitlens_core.model_files import (
    CALIBRATION_FILE,
    FOUNDATION_FILE,
    PRETRAINED_FILE,
    PROJECTIONS_FILE,
)

# In a folder of the hub's conventions (`pretrained`): what foundation and calibration hold.
CONFIG_FILE = "config.json"


def beside(lens: Path) -> dict[str, Any]:
    """What lies beside a lens: its `foundation` and `calibration`, where they are stated."""
    return _stated(lens.parent)


def _stated(folder: Path) -> dict[str, Any]:
    config = folder / CONFIG_FILE
    if config.is_file() and (folder / PRETRAINED_FILE).is_file():
        return {key: value for key, value in json.loads(config.read_text()).items() if value}
    files = {"foundation": FOUNDATION_FILE, "calibration": CALIBRATION_FILE}
    return {
        name: json.loads((folder / file).read_text())
        for name, file in files.items()
        if (folder / file).is_file()
    }


def lens_encoders(
    files: Sequence[Path],
    base: Foundation,
    wanted: Collection[str] | None,
    device: torch.device,
) -> dict[str, Encoder]:
    """Encoders of the lenses' modalities and of image, video and text.

    Args:
        base: their foundation, on the device.
        wanted: those to keep, or None for all; the rest is released.

    Raises:
        ConfigError: two lenses of one modality.
        CheckpointError: a lens that was trained against another foundation.
    """
    encoders: dict[str, Encoder] = {}
    for path in files:
        modality = read_settings(path)[0].modality
        if modality in encoders:
            raise ConfigError(f"two lenses for {modality}; load one of them")
        if wanted is None or modality in wanted:
            encoders[modality] = _lens_encoder(path, base, device)
    own = foundation_encoders(base)
    return encoders | {name: own[name] for name in own if wanted is None or name in wanted}


def _lens_encoder(path: Path, foundation: Foundation, device: torch.device) -> Encoder:
    tower, settings = load_lens(path, foundation)
    own = {"temperature": 1 / tower.log_scale.exp().item()}
    temperature = beside(path).get("calibration", own)["temperature"]
    return signal_encoder(settings.signal, on_device(tower, device), temperature)


def lens_foundation(lens: Path | None, given: Foundation | str | Path | None = None) -> Foundation:
    """The foundation that is given, or lies beside the lens, or that its spec names.

    Args:
        lens: None for a foundation that is to be used alone.

    Raises:
        ConfigError: it cannot be found, or is a `lit` spec whose projections are not at hand.
    """
    if isinstance(given, Foundation):
        return given
    if given is None:
        assert lens is not None, "a lens or a foundation is given"
        given = lens.parent if "foundation" in beside(lens) else read_settings(lens)[1]
    # Of a lens the digest would tell: its own message says what is missing.
    if str(given).startswith("lit:"):
        raise ConfigError(
            f"{given} alone has no fitted projections: give the folder of a fitted foundation "
            f"({FOUNDATION_FILE}, {PROJECTIONS_FILE}) as `foundation`"
        )
    return open_foundation(given)


def open_foundation(source: str | Path) -> Foundation:
    """A foundation from its spec, or from a folder that states it (and holds projections).

    Raises:
        ConfigError: an unknown spec.
        CheckpointError: projections that are missing or do not fit.
    """
    folder = Path(source)
    stated = _stated(folder).get("foundation")
    if stated is None:
        return load_foundation(str(source))
    if not stated["spec"].startswith("lit:"):
        return load_foundation(stated["spec"])
    foundation = load_foundation(stated["spec"], stated["embed_dim"], stated["image_size_px"])
    projections = folder / PROJECTIONS_FILE
    if not projections.is_file():
        raise CheckpointError(f"{folder} lacks {PROJECTIONS_FILE}")
    assert isinstance(foundation, LitFoundation)
    foundation.load_projections(load_file(str(projections)))
    return foundation
