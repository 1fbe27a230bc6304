"""datasets: the benchmarks, one module per data set, found by name.

A module states `BENCHMARKS`; its docstring has the layout expected, the licence and the source.
A new data set is a new module.
"""

from __future__ import annotations

import importlib
import pkgutil
from functools import lru_cache

from pipelines.benchmarks.base import Benchmark


@lru_cache(maxsize=1)
def benchmarks() -> dict[str, Benchmark]:
    """All there are, by name."""
    modules = sorted(module.name for module in pkgutil.iter_modules(__path__))
    stated = [importlib.import_module(f"{__name__}.{name}").BENCHMARKS for name in modules]
    return {benchmark.name: benchmark for group in stated for benchmark in group}
