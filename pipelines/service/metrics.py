"""metrics: counters for Prometheus.

With PROMETHEUS_MULTIPROC_DIR set, as by `deployment`, any replica of a machine reports the sum of
all its replicas. Other nodes of a cluster have a folder, and sums, of their own.
"""

from __future__ import annotations

import os
from pathlib import Path

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
    multiprocess,
)

FOLDER = "PROMETHEUS_MULTIPROC_DIR"
CONTENT_TYPE = CONTENT_TYPE_LATEST
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)
_SIZES = (1, 2, 4, 8, 16, 32, 64, 128)


class Metrics:
    """One replica's counters."""

    def __init__(self) -> None:
        if FOLDER in os.environ:
            Path(os.environ[FOLDER]).mkdir(parents=True, exist_ok=True)
        registry = CollectorRegistry()
        self._registry = registry
        self.requests = Counter(
            "vitlens_requests", "Answers.", ["route", "status"], registry=registry
        )
        self.seconds = Histogram(
            "vitlens_request_seconds",
            "Time from a request to the end of its answer.",
            ["route"],
            buckets=_SECONDS,
            registry=registry,
        )
        self.batch_size = Histogram(
            "vitlens_batch_size",
            "Inputs that passed a tower together.",
            ["modality"],
            buckets=_SIZES,
            registry=registry,
        )
        self.rejected = Counter(
            "vitlens_rejected", "Requests refused.", ["reason"], registry=registry
        )
        self.reloads = Counter(
            "vitlens_reloads", "Versions that came later.", ["outcome"], registry=registry
        )
        for outcome in ("done", "failed"):
            self.reloads.labels(outcome)  # at 0: Prometheus sees no increase in a first value
        self.in_flight = Gauge(
            "vitlens_in_flight",
            "Requests being answered.",
            multiprocess_mode="livesum",
            registry=registry,
        )

    def text(self) -> bytes:
        """Return all counters in Prometheus's text format."""
        if FOLDER not in os.environ:
            return generate_latest(self._registry)
        registry = CollectorRegistry()
        multiprocess.MultiProcessCollector(registry)
        return generate_latest(registry)
