"""The header of a lens checkpoint: what the lens is, read without its weights and without torch."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from pydantic import ValidationError
from safetensors import SafetensorError, safe_open

from vitlens_core.errors import CheckpointError
from vitlens_core.models.tower_settings import TowerSettings

# 2: the settings of the signal and of the tokenizer are separate sections.
FORMAT = "vitlens-lens-2"


def read_settings(path: Path) -> tuple[TowerSettings, str, str]:
    """Read a checkpoint's tower settings, foundation spec and foundation digest; no weights."""
    with open_safetensors(path, "numpy") as file:
        metadata = file.metadata() or {}
    if metadata.get("format") != FORMAT:
        raise CheckpointError(f"{path} is not a lens checkpoint ({FORMAT}) of vitlens")
    try:
        settings = TowerSettings.model_validate_json(metadata["settings"])
    except ValidationError as error:
        raise CheckpointError(f"{path} has settings this release cannot read: {error}") from error
    return settings, metadata["foundation"], metadata["foundation_digest"]


@contextmanager
def open_safetensors(path: Path, framework: Literal["numpy", "pt"]) -> Generator[safe_open]:
    """Open a safetensors file; `numpy` does not import torch, and reads no bf16.

    Raises:
        CheckpointError: it is missing, damaged or none.
    """
    try:
        with safe_open(str(path), framework=framework) as file:
            yield file
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{path} is not a safetensors file: {error}") from error
