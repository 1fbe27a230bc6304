"""preflight: what can be known to fail is found before any process is started."""

from __future__ import annotations

from pipelines.config import RunConfig
from pipelines.mirror import open_mirror


def check(config: RunConfig) -> None:
    """Look at the mirror (`ConfigError` if there is none) before Ray and Dagster start."""
    open_mirror(config.objects.mirror)
