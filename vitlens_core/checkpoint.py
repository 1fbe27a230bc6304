"""Lens checkpoints: one safetensors file with the trained tensors only.

Its metadata holds the tower's settings, the foundation's spec and the foundation's digest;
frozen weights are never saved. Loading is strict and refuses another foundation.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path

from safetensors import safe_open
from safetensors.torch import load_file
from safetensors.torch import save as save_tensors
from torch import Tensor

from vitlens_core.errors import CheckpointError
from vitlens_core.foundation.base import Foundation
from vitlens_core.lens_header import FORMAT, open_safetensors, read_settings
from vitlens_core.models.tower import Tower, build_tower
from vitlens_core.models.tower_settings import TowerSettings


def encode_lens(
    state: Mapping[str, Tensor],
    settings: TowerSettings,
    foundation_spec: str,
    foundation_digest: str,
    trunk_digest: str | None = None,
) -> bytes:
    """Encode a lens checkpoint; equal states (`Tower.trained_state`) give equal bytes.

    Args:
        trunk_digest: `Tower.frozen_digest`, if the trunk is not the foundation's.
    """
    metadata = {
        "format": FORMAT,
        "settings": settings.model_dump_json(),
        "foundation": foundation_spec,
        "foundation_digest": foundation_digest,
    }
    if trunk_digest is not None:
        metadata["trunk_digest"] = trunk_digest
    # safetensors stores contiguous tensors in the CPU's memory only.
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in state.items()}
    return canonical(save_tensors(tensors, metadata))


def load_lens(path: Path, foundation: Foundation) -> tuple[Tower, TowerSettings]:
    """Load the tower of a checkpoint onto its foundation, in evaluation mode.

    Raises:
        CheckpointError: the file is no lens checkpoint, its tensors do not fit, or it was trained
            against another foundation.
    """
    settings, spec, digest = read_settings(path)
    # On another foundation of the same sizes the tensors would fit, and the embeddings be wrong.
    if foundation.digest() != digest:
        raise CheckpointError(
            f"{path} was trained against {spec} (digest {digest[:12]}…), not against the "
            f"foundation given: {foundation.spec} (digest {foundation.digest()[:12]}…)"
        )
    tower = build_tower(settings, foundation.trunk)
    if settings.trunk.model is not None:
        _check_trunk(path, settings.trunk.model, tower)
    tower.load_trained_state(load_file(str(path)))
    return tower.eval(), settings


def _check_trunk(path: Path, name: str, tower: Tower) -> None:
    """Refuse frozen weights of another trunk that are not those of the training."""
    with safe_open(str(path), framework="pt") as file:
        stated = (file.metadata() or {}).get("trunk_digest", "")
    found = tower.frozen_digest()
    if found != stated:
        raise CheckpointError(
            f"{path} was trained on {name} with frozen weights of digest {stated[:12]}…; those "
            f"found now have {found[:12]}…. Put the file of that training in its place"
        )


def read_tensors(path: Path) -> tuple[dict[str, str], dict[str, Tensor]]:
    """Read the metadata and all tensors of a safetensors file; errors as `open_safetensors`."""
    with open_safetensors(path, "pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        return file.metadata() or {}, tensors


def canonical(data: bytes) -> bytes:
    """Sort the header of a safetensors file, whose metadata is written in random order."""
    # The first 8 bytes hold the header's length.
    end = 8 + int.from_bytes(data[:8], "little")
    header = json.dumps(json.loads(data[8:end]), sort_keys=True, separators=(",", ":")).encode()
    # Padded with blanks to whole 8 bytes, so that the tensors behind it stay aligned.
    header = header.ljust(math.ceil(len(header) / 8) * 8)
    return len(header).to_bytes(8, "little") + header + data[end:]
