"""The plot of data efficiency: a line per trunk, over shares, with intervals over seeds."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from pipelines import sweep as sweeps
from pipelines.sweep.efficiency import PLOT_FILE, drawn, figures
from pipelines.sweep.results import SweepResults
from tests.pipelines.sweep.made_up import failed, point, sweep


def _swept(home: Path) -> sweeps.Sweep:
    tops = [("pretrained@5", 0.25), ("pretrained@5", 0.75), ("pretrained@100", 1), ("whole@5", 0.5)]
    made = [
        replace(point(home, f"{value}, seed {seed}", top1, 0.25), value=value)
        for seed, (value, top1) in enumerate(tops)
    ]
    return sweep(*made, failed("random@5", "killed"), axis="efficiency")


def test_figures_are_means_over_seeds_with_students_interval(tmp_path: Path) -> None:
    found = figures(SweepResults.of(_swept(tmp_path)))
    assert found.keys() == {"pretrained", "whole"}
    few = found["pretrained"][5]
    assert (few.mean, few.seeds) == (pytest.approx(0.5), 2)
    # Of two figures .5 apart: t(.975, 1) = 12.706 times their standard error of .25.
    assert few.half == pytest.approx(3.1765, rel=1e-3)
    assert found["pretrained"][100] == (1, 0, 1)


def test_a_stopped_sweep_draws_what_it_has(tmp_path: Path) -> None:
    svg = drawn(SweepResults.of(_swept(tmp_path)))
    assert "pretrained trunk, frozen" in svg
    assert "random trunk, trained whole" in svg
    assert "random trunk, frozen" not in svg


def test_the_sweep_writes_the_plot_beside_its_own(tmp_path: Path) -> None:
    folder = sweeps.write(tmp_path / "home", _swept(tmp_path), record=lambda *_: "")
    assert (folder / PLOT_FILE).read_text().startswith("<?xml")
    other = sweep(point(tmp_path, "a", 0.5, 0.25))
    assert not (sweeps.write(tmp_path / "home", other, record=lambda *_: "") / PLOT_FILE).exists()
