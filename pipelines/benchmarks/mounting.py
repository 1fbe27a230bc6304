"""mounting: lists the data sets of a modality's benchmarks; nothing is measured here.

Promises  a data set that cannot be listed loses only its own rows; seconds, without torch.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from pipelines.benchmarks.base import Benchmark, Mounted
from pipelines.benchmarks.datasets import benchmarks, check
from pipelines.benchmarks.table import NOT_MOUNTED, Unscored, unscored
from pipelines.store.artifacts import digest
from vitlens_core.errors import ConfigError, InputError


@dataclass(frozen=True)
class Suite:
    """The benchmarks of some modalities: mounted, failed to mount, and not mounted."""

    modalities: tuple[str, ...]
    mounted: Mapping[str, Mounted]
    failed: tuple[Unscored, ...]
    skipped: tuple[Unscored, ...]
    known: Mapping[str, Benchmark] = field(default_factory=benchmarks)

    @property
    def content(self) -> str:
        """Digest of the mounted data sets, without their places; empty if there are none."""
        if not self.mounted and not self.failed:
            return ""
        digests = {name: mounted.digest() for name, mounted in self.mounted.items()}
        return digest([digests, [item.benchmark for item in self.failed]])

    @property
    def recordings(self) -> int:
        return sum(len(mounted.test) for mounted in self.mounted.values())


def mount(roots: Mapping[str, str], of_modalities: Collection[str]) -> Suite:
    """List the data sets that `roots` names; only their lists are opened.

    Raises:
        ConfigError: a name is no benchmark, or one of another modality.
    """
    check(roots, of_modalities)
    mounted, failed, skipped = {}, [], []
    for name, benchmark in benchmarks().items():
        if benchmark.modality not in of_modalities:
            continue
        if name not in roots:
            skipped.append(unscored(benchmark, NOT_MOUNTED))
            continue
        try:
            mounted[name] = benchmark.mount(roots[name])
        except (ConfigError, InputError) as error:
            failed.append(unscored(benchmark, str(error)))
    return Suite(tuple(of_modalities), mounted, tuple(failed), tuple(skipped))
