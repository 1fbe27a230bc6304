"""backups: figures of the last finished backup, as `vitlens backup` left them in the store."""

from __future__ import annotations

from prometheus_client.core import GaugeMetricFamily

from pipelines.store.artifact_store import Store
from workflows.backups.last import last_backup


def read_backup(store: Store) -> list[GaugeMetricFamily]:
    """Return when the last backup was finished, and its size; nothing before the first."""
    at = GaugeMetricFamily("vitlens_backup_timestamp_seconds", "When the last was finished [s].")
    size = GaugeMetricFamily("vitlens_backup_bytes", "Bytes of its files.")
    if last := last_backup(store):
        at.add_metric((), last.made_at.timestamp())
        size.add_metric((), last.size_bytes)
    return [at, size]
