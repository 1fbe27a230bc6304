"""collector: reads every source in turn and serves the last figures of each.

A scrape never waits for a store or a server: it is answered from memory.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from threading import Lock

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

logger = logging.getLogger("vitlens.exporter")
Read = Callable[[], list[GaugeMetricFamily]]


@dataclass(eq=False)  # a registry of Prometheus keeps it by identity
class SourcesCollector(Collector):
    """The last figures of each source, by its name."""

    sources: Mapping[str, Read]
    _figures: dict[str, list[GaugeMetricFamily]] = field(default_factory=dict)
    _up: dict[str, bool] = field(default_factory=dict)
    _read_at: dict[str, float] = field(default_factory=dict)
    _lock: Lock = field(default_factory=Lock)

    def refresh(self) -> None:
        """Read every source; one that fails keeps its figures and is reported as down."""
        for name, read in self.sources.items():
            try:
                figures = read()
            except Exception as error:  # any error of any client: the other sources go on
                logger.warning("%s cannot be read: %s: %s", name, type(error).__name__, error)
                with self._lock:
                    self._up[name] = False
                continue
            with self._lock:
                self._figures[name], self._up[name] = figures, True
                self._read_at[name] = time.time()

    def collect(self) -> Iterable[GaugeMetricFamily]:
        with self._lock:
            up = GaugeMetricFamily("vitlens_source_up", "Last look worked.", labels=("source",))
            at = GaugeMetricFamily(
                "vitlens_source_read_seconds", "When a look last worked [s].", labels=("source",)
            )
            for name, is_up in self._up.items():
                up.add_metric([name], is_up)
            for name, seconds in self._read_at.items():
                at.add_metric([name], seconds)
            kept = [family for figures in self._figures.values() for family in figures]
        return [up, at, *kept]
