"""One folder per modality; its `defs.yaml` is all its workflow needs."""

from __future__ import annotations

from pathlib import Path

FOLDER = Path(__file__).parent


def modality_names() -> list[str]:
    """Return the modalities that have a workflow."""
    return sorted(path.parent.name for path in FOLDER.glob("*/defs.yaml"))
