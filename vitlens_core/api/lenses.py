"""Models from lens checkpoints of one foundation, and the foundation's own modalities."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from pathlib import Path

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

FOUNDATION_FILE = "foundation.json"
PROJECTIONS_FILE = "projections.safetensors"


def lens_encoders(
    files: Sequence[Path],
    foundation: Foundation | str | Path | None,
    wanted: Collection[str] | None,
    device: torch.device,
) -> dict[str, Encoder]:
    """Encoders of the lenses' modalities and of image, video and text.

    Args:
        wanted: those to keep, or None for all; the rest is released.

    Raises:
        ConfigError: two lenses of one modality, or a foundation that cannot be found.
        CheckpointError: a lens that was trained against another foundation.
    """
    base = _foundation(files[0], foundation).to(device)
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
    temperature = 1 / tower.log_scale.exp().item()
    return signal_encoder(settings.signal, on_device(tower, device), temperature)


def _foundation(lens: Path, given: Foundation | str | Path | None) -> Foundation:
    """The foundation that is given, or lies beside the lens, or that its spec names."""
    if isinstance(given, Foundation):
        return given
    if given is not None:
        return open_foundation(given)
    if (lens.parent / FOUNDATION_FILE).is_file():
        return open_foundation(lens.parent)
    spec = read_settings(lens)[1]
    if spec.startswith("lit:"):
        raise ConfigError(
            f"{lens} was trained against {spec}, whose projections were fitted: give the folder "
            f"of that foundation ({FOUNDATION_FILE}, {PROJECTIONS_FILE}) as `foundation`"
        )
    return load_foundation(spec)


def open_foundation(source: str | Path) -> Foundation:
    """A foundation from its spec, or from a folder with foundation.json (and projections).

    Raises:
        ConfigError: an unknown spec.
        CheckpointError: projections that are missing or do not fit.
    """
    described = Path(source, FOUNDATION_FILE)
    if not described.is_file():
        return load_foundation(str(source))
    stated = json.loads(described.read_text())
    if not stated["spec"].startswith("lit:"):
        return load_foundation(stated["spec"])
    foundation = load_foundation(stated["spec"], stated["embed_dim"], stated["image_size_px"])
    projections = described.with_name(PROJECTIONS_FILE)
    if not projections.is_file():
        raise CheckpointError(f"{described.parent} lacks {PROJECTIONS_FILE}")
    assert isinstance(foundation, LitFoundation)
    foundation.load_projections(load_file(str(projections)))
    return foundation
