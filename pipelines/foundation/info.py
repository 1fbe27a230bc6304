"""info: what a foundation's artifact states of it; read without torch."""

from __future__ import annotations

from pipelines.store.artifacts import Artifact
from vitlens_core.foundation.info import FoundationInfo
from vitlens_core.model_files import FOUNDATION_FILE


def read_info(foundation: Artifact) -> FoundationInfo:
    """The content of `foundation.json`."""
    return foundation.read_model(FOUNDATION_FILE, FoundationInfo)
