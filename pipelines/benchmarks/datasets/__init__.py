"""datasets: the benchmarks, one module per data set, found by name.

A module defines `BENCHMARKS`; its docstring has the expected layout, the licence and the source.
A new data set is a new module.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Collection
from functools import lru_cache

from pipelines.benchmarks.base import Benchmark
from vitlens_core.errors import ConfigError, unknown


@lru_cache(maxsize=1)
def benchmarks() -> dict[str, Benchmark]:
    """Return all benchmarks, by name."""
    modules = sorted(module.name for module in pkgutil.iter_modules(__path__))
    stated = [importlib.import_module(f"{__name__}.{name}").BENCHMARKS for name in modules]
    return {benchmark.name: benchmark for group in stated for benchmark in group}


def check(roots: Collection[str], of_modalities: Collection[str] | None = None) -> None:
    """Refuse names that are no benchmark, or one of another modality (`ConfigError`)."""
    known = benchmarks()
    for name in roots:
        if name not in known:
            raise ConfigError(f"benchmarks: {unknown('benchmark', name, known)}")
        measured = known[name].modality
        if of_modalities is not None and measured not in of_modalities:
            raise ConfigError(
                f"benchmarks: {name} measures {measured}; the model has {', '.join(of_modalities)}"
            )
