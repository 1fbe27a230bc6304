"""The loader's benchmark gives every ratio that the plot shows."""

from __future__ import annotations

from pathlib import Path

from tests.benchmarks import bench_loading
from tests.benchmarks.plot import RATIOS


def test_the_loader_is_held_against_both_raw_reads(tmp_path: Path) -> None:
    made = bench_loading.write(tmp_path, bench_loading.PER_SHARD, embed_dim=8)
    found = bench_loading.measure(made, repeats=1)
    shown = {field for name, field, _ in RATIOS if name == "loading"}
    assert {"share_of_raw_read", "share_of_fresh_read"} <= shown
    assert all(found[field] > 0 for field in shown)
