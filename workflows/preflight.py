"""preflight: what can be known to fail is found before any process is started."""

from __future__ import annotations

from pipelines.config import RunConfig
from pipelines.mirror import open_mirror
from vitlens_core.foundation import check_foundation


def check(config: RunConfig) -> None:
    """Look for mirror and foundation (`ConfigError` if missing) before Ray and Dagster start."""
    open_mirror(config.objects.mirror)
    check_foundation(config.foundation.spec)
