"""Tells what kind of checkpoint a file is."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Literal

from vitlens_core.errors import CheckpointError
from vitlens_core.lens_header import FORMAT, open_safetensors
from vitlens_core.models.weights import read_weights

Kind = Literal["lens", "vitlens", "imagebind", "openshape"]

# How the names of some tensors begin, which identifies each published kind.
_PREFIXES: dict[Kind, str] = {
    "vitlens": "vitlens.",
    "imagebind": "modality_trunks.",
    "openshape": "visual_adapter.sa.",
}


def recognise(path: Path) -> Kind:
    """Tell the kind of a checkpoint file from its metadata or its tensors' names.

    Raises:
        CheckpointError: it cannot be read, or is of no known kind.
    """
    if path.suffix == ".safetensors":
        # The header is enough: no weights are read.
        with open_safetensors(path, "numpy") as file:
            if (file.metadata() or {}).get("format") == FORMAT:
                return "lens"
            return _kind_of(file.keys(), path)
    return _kind_of(read_weights(path), path)


def _kind_of(names: Iterable[str], path: Path) -> Kind:
    names = list(names)
    for kind, prefix in _PREFIXES.items():
        if any(name.startswith(prefix) for name in names):
            return kind
    raise CheckpointError(
        f"{path} is neither a lens checkpoint nor one of ViT-Lens, OpenShape or ImageBind; "
        f"its tensors begin with {', '.join(sorted(names)[:3]) or 'nothing'}"
    )
