"""The sweep's page and plot: complete, self-contained, escaped."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from pipelines.sweep import page, plot
from pipelines.sweep.results import SweepResults
from tests.pipelines.sweep.made_up import failed, point, sweep


class Rows(HTMLParser):
    """The text of every cell of the first table's body, by row; and every address."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.addresses: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.rows[-1].append("")
        self.addresses += [v or "" for n, v in attrs if n in ("src", "href", "xlink:href")]

    def handle_data(self, data: str) -> None:
        if self.rows and self.rows[-1]:
            self.rows[-1][-1] += data.strip().replace("\u00a0", " ") + " "


@pytest.fixture
def results(tmp_path: Path) -> SweepResults:
    points = [point(tmp_path, "a", 0.5, 0.25), point(tmp_path, "b", 0.25, 0.75, text_weight=0)]
    return SweepResults.of(sweep(*points, failed("c", "no <weights> for it")))


def test_the_table_has_a_row_for_every_point(results: SweepResults) -> None:
    rows = Rows(page.render(results)).rows
    a, b, c = (next(r for r in rows if r and r[0].startswith(label)) for label in "abc")
    assert "profile" in a[0]
    assert "25.0 % to image, of 4" in a[1]
    assert "50.0 %" in a[2]
    assert "40.0–60.0 %" in a[2]
    assert "emergent" in b[0]
    assert "emergent" not in a[0]
    assert "failed no <weights> for it" in c[1]


def test_the_page_says_which_figure_chooses_and_what_it_chooses(results: SweepResults) -> None:
    text = re.sub(r"\s+", " ", page.render(results))
    assert "On the validation objects, <b>b</b> is best." in text
    assert "For choosing" in text
    assert "Held out, for reporting" in text


@pytest.mark.parametrize(
    ("figures", "said"),
    [
        ((0.5, 0.5), "<b>a</b> and <b>b</b> are equally good"),
        ((None, None), "validation chooses none"),
    ],
)
def test_where_no_single_point_is_best_the_page_says_so(
    tmp_path: Path, figures: tuple[float | None, ...], said: str
) -> None:
    points = [point(tmp_path, label, 0.5, r1) for label, r1 in zip("ab", figures, strict=True)]
    assert said in re.sub(r"\s+", " ", page.render(SweepResults.of(sweep(*points))))


def test_nothing_is_asked_of_the_network_and_names_are_escaped(results: SweepResults) -> None:
    text = page.render(results)
    assert all(address.startswith(("data:", "#")) for address in Rows(text).addresses)
    assert not re.search(r"@import|url\((?!#)|<script", text)
    assert "no &lt;weights&gt; for it" in text
    assert "#00000" not in text


def test_a_sweep_in_which_all_failed_has_a_page() -> None:
    results = SweepResults.of(sweep(failed("a", "one reason"), failed("b", "another")))
    text = page.render(results)
    assert "0 of 2 points made" in text
    assert "one reason" in text
    assert "another" in text


def test_the_plot_marks_every_point_that_was_made(results: SweepResults) -> None:
    svg = plot.standalone(results)
    assert svg.startswith("<?xml")
    for label in "abc":
        assert f">{label}</text>" in svg
    assert "#00000" not in svg
    assert "var(--" not in svg
    assert plot.standalone(results) == svg
    alone = plot.standalone(results.model_copy(update={"points": results.points[2:]}))
    assert svg.count("<use") > alone.count("<use")


def test_a_long_label_is_shortened_in_the_plot_alone(tmp_path: Path) -> None:
    long = "open_clip:ViT-L-14/" + "x" * 60
    results = SweepResults.of(sweep(failed(long, "no weights"), point(tmp_path, "b", 0.5, 0.5)))
    assert long not in plot.inline(results)
    assert long in page.render(results)
