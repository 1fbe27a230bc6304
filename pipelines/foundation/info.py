"""info: reads the description in a foundation's artifact, without torch."""

from __future__ import annotations

from pipelines.store.artifacts import Artifact
from vitlens_core.foundation.info import FoundationInfo
from vitlens_core.model_files import FOUNDATION_FILE


def read_info(foundation: Artifact) -> FoundationInfo:
    """Read `foundation.json`."""
    return foundation.read_model(FOUNDATION_FILE, FoundationInfo)
