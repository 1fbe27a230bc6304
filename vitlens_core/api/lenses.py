"""Models from lens checkpoints of one foundation, and the foundation's own modalities."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import NamedTuple, TypedDict

import torch
from pydantic import ValidationError
from safetensors.torch import load_file

from vitlens_core.api.encoders import (
    Encoder,
    SignalTower,
    foundation_encoders,
    on_device,
    signal_encoder,
)
from vitlens_core.checkpoint import load_lens, read_settings
from vitlens_core.errors import CheckpointError, ConfigError
from vitlens_core.foundation import load_foundation
from vitlens_core.foundation.base import Foundation
from vitlens_core.foundation.info import FoundationInfo
from vitlens_core.foundation.lit import LitFoundation
from vitlens_core.model_files import (
    CALIBRATION_FILE,
    FOUNDATION_FILE,
    PRETRAINED_FILE,
    PROJECTIONS_FILE,
)

# In a folder of the hub's conventions (`pretrained`): what foundation and calibration hold.
CONFIG_FILE = "config.json"


class CalibrationStated(TypedDict):
    """The temperature fitted on held-out validation samples; a file may say more."""

    temperature: float


class Stated(TypedDict, total=False):
    """What lies beside a lens, where it is stated."""

    foundation: FoundationInfo
    calibration: CalibrationStated


class Origin(NamedTuple):
    """What a model was loaded from, as far as it can be saved again: one lens."""

    # No dataclass: the hub's mixin would copy the foundation into the config it makes of arguments.

    lens: Path
    foundation: Foundation


def beside(lens: Path) -> Stated:
    """What lies beside a lens: its `foundation` and `calibration`, where they are stated.

    Raises:
        CheckpointError: its foundation is stated otherwise than `FoundationInfo` has it.
    """
    return _stated(lens.parent)


def _stated(folder: Path) -> Stated:
    config, stated = folder / CONFIG_FILE, Stated()
    if config.is_file() and (folder / PRETRAINED_FILE).is_file():
        described = json.loads(config.read_text())
    else:
        files = {"foundation": FOUNDATION_FILE, "calibration": CALIBRATION_FILE}
        described = {
            name: json.loads((folder / file).read_text())
            for name, file in files.items()
            if (folder / file).is_file()
        }
    if foundation := described.get("foundation"):
        try:
            stated["foundation"] = FoundationInfo.model_validate(foundation)
        except ValidationError as error:
            raise CheckpointError(f"{folder} states no foundation: {error}") from error
    if calibration := described.get("calibration"):
        stated["calibration"] = calibration
    return stated


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
    own = CalibrationStated(temperature=1 / tower.log_scale.exp().item())
    temperature = beside(path).get("calibration", own)["temperature"]
    embed = on_device(tower, device)
    fed = SignalTower(settings.signal_needed, settings.tokenizer_config, embed)
    return signal_encoder(fed, temperature)


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
    # Its maps would be random ones: the digest of a lens tells so, a foundation alone does not.
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
        CheckpointError: projections that are missing or do not fit, or a folder that states no
            foundation.
    """
    folder = Path(source)
    stated = _stated(folder).get("foundation")
    if stated is None:
        return load_foundation(str(source))
    if not stated.spec.startswith("lit:"):
        return load_foundation(stated.spec)
    foundation = load_foundation(stated.spec, stated.embed_dim, stated.image_size_px)
    projections = folder / PROJECTIONS_FILE
    if not projections.is_file():
        raise CheckpointError(f"{folder} lacks {PROJECTIONS_FILE}")
    assert isinstance(foundation, LitFoundation)
    foundation.load_projections(load_file(str(projections)))
    return foundation
