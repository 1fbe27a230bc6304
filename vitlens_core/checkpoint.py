"""Lens checkpoints: one safetensors file with the trained tensors only.

Its metadata holds the tower's settings, the foundation's spec and the foundation's digest;
frozen weights are never saved. Loading is strict and refuses another foundation.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path

from pydantic import ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from safetensors.torch import save as save_tensors
from torch import Tensor

from vitlens_core.errors import CheckpointError
from vitlens_core.foundation.base import Foundation
from vitlens_core.models.tower import Tower, build_tower
from vitlens_core.models.tower_settings import TowerSettings

FORMAT = "vitlens-lens-2"


def encode_lens(
    state: Mapping[str, Tensor],
    settings: TowerSettings,
    foundation_spec: str,
    foundation_digest: str,
) -> bytes:
    """The bytes of a lens checkpoint; equal states (`Tower.trained_state`) give equal bytes."""
    metadata = {
        "format": FORMAT,
        "settings": settings.model_dump_json(),
        "foundation": foundation_spec,
        "foundation_digest": foundation_digest,
    }
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in state.items()}
    return _canonical(save_tensors(tensors, metadata))


def read_settings(path: Path) -> tuple[TowerSettings, str, str]:
    """A checkpoint's tower settings, foundation spec and foundation digest, without weights."""
    try:
        with safe_open(str(path), framework="pt") as file:
            metadata = file.metadata() or {}
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{path} is not a safetensors file: {error}") from error
    if metadata.get("format") != FORMAT:
        raise CheckpointError(f"{path} is not a lens checkpoint ({FORMAT}) of vitlens")
    try:
        settings = TowerSettings.model_validate_json(metadata["settings"])
    except ValidationError as error:
        raise CheckpointError(f"{path} has settings this release cannot read: {error}") from error
    return settings, metadata["foundation"], metadata["foundation_digest"]


def load_lens(path: Path, foundation: Foundation) -> tuple[Tower, TowerSettings]:
    """The tower of a checkpoint on its foundation, in evaluation mode.

    Raises:
        CheckpointError: not a lens checkpoint, tensors that do not fit, or another foundation.
    """
    settings, spec, digest = read_settings(path)
    if foundation.digest() != digest:
        raise CheckpointError(
            f"{path} was trained against {spec} (digest {digest[:12]}…), not against the "
            f"foundation given: {foundation.spec} (digest {foundation.digest()[:12]}…)"
        )
    tower = build_tower(settings, foundation.trunk)
    tower.load_trained_state(load_file(str(path)))
    return tower.eval(), settings


def _canonical(data: bytes) -> bytes:
    """The same safetensors file with a sorted header: its metadata comes in random order."""
    end = 8 + int.from_bytes(data[:8], "little")
    header = json.dumps(json.loads(data[8:end]), sort_keys=True, separators=(",", ":")).encode()
    header = header.ljust(math.ceil(len(header) / 8) * 8)
    return len(header).to_bytes(8, "little") + header + data[end:]
