"""Models from lens checkpoints of one foundation, and the foundation's own modalities."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple, TypedDict

import torch
from pydantic import ValidationError
from safetensors.torch import load_file

from vitlens_core import caps
from vitlens_core.api.encoders import (
    Encoder,
    SignalTower,
    foundation_encoders,
    on_device,
    signal_encoder,
)
from vitlens_core.checkpoint import load_lens
from vitlens_core.errors import CheckpointError, ConfigError
from vitlens_core.foundation import load_foundation
from vitlens_core.foundation.base import Foundation
from vitlens_core.foundation.info import FoundationInfo
from vitlens_core.foundation.lit import LitFoundation
from vitlens_core.lens_header import read_settings
from vitlens_core.model_files import (
    CALIBRATION_FILE,
    FOUNDATION_FILE,
    PRETRAINED_FILE,
    PROJECTIONS_FILE,
    PROTOTYPES_FILE,
)
from vitlens_core.prototypes import load_prototypes

# A folder in the hub's conventions (`pretrained`) states foundation and calibration in this file.
CONFIG_FILE = "config.json"


class CalibrationStated(TypedDict):
    """The temperature fitted on held-out validation samples; a file may hold further fields."""

    temperature: float


class Stated(TypedDict, total=False):
    """What the files beside a lens state; a key is absent if its file is."""

    foundation: FoundationInfo
    calibration: CalibrationStated


class Origin(NamedTuple):
    """The one lens a model was loaded from, and its foundation, so that it can be saved again."""

    # Not a dataclass: the hub's mixin turns dataclass arguments into JSON, the foundation too.

    lens: Path
    foundation: Foundation


def beside(lens: Path) -> Stated:
    """Read what the files beside a lens state: its `foundation` and its `calibration`.

    Raises:
        CheckpointError: the stated foundation does not fit `FoundationInfo`.
    """
    return _stated(lens.parent)


def _stated(folder: Path) -> Stated:
    config, stated = folder / CONFIG_FILE, Stated()
    # Many folders hold a config.json; it is ours only if the hub's weights lie beside it.
    if config.is_file() and (folder / PRETRAINED_FILE).is_file():
        content = caps.parse_json(config.read_text())
    else:
        files = {"foundation": FOUNDATION_FILE, "calibration": CALIBRATION_FILE}
        content = {
            name: caps.parse_json((folder / file).read_text())
            for name, file in files.items()
            if (folder / file).is_file()
        }
    if foundation := content.get("foundation"):
        try:
            stated["foundation"] = FoundationInfo.model_validate(foundation)
        except ValidationError as error:
            raise CheckpointError(f"{folder} states no foundation: {error}") from error
    if calibration := content.get("calibration"):
        stated["calibration"] = calibration
    return stated


def lens_encoders(
    files: Sequence[Path],
    base: Foundation,
    wanted: Collection[str] | None,
    device: torch.device,
) -> dict[str, Encoder]:
    """Load the encoders of the lenses' modalities and of image, video and text.

    Args:
        base: the lenses' foundation, on the device.
        wanted: modalities to keep, or None for all; the others are not kept in memory.

    Raises:
        ConfigError: two lenses of one modality.
        CheckpointError: a lens was trained against another foundation.
    """
    encoders: dict[str, Encoder] = {}
    for path in files:
        modality = read_settings(path)[0].modality
        if modality in encoders:
            raise ConfigError(f"two lenses for {modality}; load one of them")
        if wanted is None or modality in wanted:
            encoders[modality] = _lens_encoder(path, base, device)
    of_base = foundation_encoders(base)
    return encoders | {name: of_base[name] for name in of_base if wanted is None or name in wanted}


def _lens_encoder(path: Path, foundation: Foundation, device: torch.device) -> Encoder:
    tower, settings = load_lens(path, foundation)
    # Without a fitted temperature the lens's trained one applies.
    trained = CalibrationStated(temperature=1 / tower.log_scale.exp().item())
    fitted = beside(path).get("calibration")
    temperature = (fitted or trained)["temperature"]
    embed = on_device(tower, device)
    # A recording handed in here is stored as far as the tokenizer sees it: 512 of 10,000 points.
    signal_tower = SignalTower(settings.signal_needed, settings.tokenizer_config, embed)
    fitted_here = fitted is not None
    made = signal_encoder(settings.modality, signal_tower, temperature, is_fitted=fitted_here)
    known = path.with_name(PROTOTYPES_FILE)
    if not known.is_file():
        return made
    return replace(made, prototypes=load_prototypes(known, foundation.embed_dim))


def lens_foundation(
    lens: Path | None, foundation: Foundation | str | Path | None = None
) -> Foundation:
    """Open `foundation`; without it the one beside the lens, else the one in the lens's settings.

    Args:
        lens: None for a foundation that is used alone.

    Raises:
        ConfigError: it cannot be found, or it is a `lit` spec without fitted projections.
    """
    if isinstance(foundation, Foundation):
        return foundation
    if foundation is None:
        assert lens is not None, "a lens or a foundation is given"
        foundation = lens.parent if "foundation" in beside(lens) else read_settings(lens)[1]
    # Its projections would be random: a lens would tell by its digest, but there may be no lens.
    if str(foundation).startswith("lit:"):
        raise ConfigError(
            f"{foundation} alone has no fitted projections: give the folder of a fitted foundation "
            f"({FOUNDATION_FILE}, {PROJECTIONS_FILE}) as `foundation`"
        )
    return open_foundation(foundation)


def open_foundation(source: str | Path) -> Foundation:
    """Open a foundation from its spec, or from a folder that states it (and holds projections).

    Raises:
        ConfigError: an unknown spec.
        CheckpointError: the projections are missing or do not fit, or the folder's file does not
            state a foundation.
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
