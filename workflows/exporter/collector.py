"""collector: reads every source again and again and serves the last figures of each.

A scrape never waits for a store or a server: it is answered from memory. A source that hangs, as a
store does behind a broken network, holds up no other; the age of its figures shows it.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from threading import Lock, Thread

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

    def refresh(self, name: str) -> None:
        """Read a source; one that fails keeps its figures and is reported as down."""
        try:
            figures = self.sources[name]()
        except Exception as error:  # any error of any client: it is looked at again
            logger.warning("%s cannot be read: %s: %s", name, type(error).__name__, error)
            with self._lock:
                self._up[name] = False
            return
        with self._lock:
            self._figures[name], self._up[name] = figures, True
            self._read_at[name] = time.time()

    def refresh_all(self) -> None:
        """Read every source once, one after the other."""
        for name in self.sources:
            self.refresh(name)

    def follow(self, every_s: float) -> None:
        """Read every source again and again, each in a thread that ends with the process."""
        for name in self.sources:
            Thread(target=self._again, args=(name, every_s), name=name, daemon=True).start()

    def _again(self, name: str, every_s: float) -> None:
        while True:
            time.sleep(every_s)
            self.refresh(name)

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
