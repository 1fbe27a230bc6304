"""svg: boxes, arrows and words of the pictures.

A picture is shown twice: inside a page, whose light or dark scheme it takes (`extra.css`), and
as a file beside the README, where the reader's system says which. Both set the same variables.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from html import escape
from typing import Literal

Kind = Literal["plain", "data", "train", "measure", "keep", "frozen"]
Side = Literal["left", "right", "top", "bottom"]

KINDS: Mapping[Kind, str] = {
    "plain": "#8a94a6",
    "data": "#0d9488",
    "train": "#e4572e",
    "measure": "#4f6bed",
    "keep": "#9a5bd0",
    "frozen": "#6b7a90",
}

_STYLE = """
.vl{--ink:#1f2933;--soft:#5a6675;--paper:#ffffff;--line:#8a94a6;font-family:system-ui,sans-serif}
@media (prefers-color-scheme:dark){.vl{--ink:#e6e9ee;--soft:#a7b0bd;--paper:#171b22;--line:#7b8696}}
.vl .paper{fill:var(--paper)} .vl text{fill:var(--ink)} .vl .soft{fill:var(--soft)}
.vl .arrow{fill:none;stroke:var(--line);stroke-width:1.6} .vl .dashed{stroke-dasharray:4 4}
.vl .head{fill:var(--line)} .vl .box{fill-opacity:.13;stroke-width:1.4}
"""


@dataclass(frozen=True)
class Box:
    """A named rectangle: left and top edge, width and height, in pixels of the picture."""

    x: float
    y: float
    width: float
    height: float

    def at(self, side: Side) -> tuple[float, float]:
        """The middle of a side."""
        middle = self.x + self.width / 2, self.y + self.height / 2
        return {
            "left": (self.x, middle[1]),
            "right": (self.x + self.width, middle[1]),
            "top": (middle[0], self.y),
            "bottom": (middle[0], self.y + self.height),
        }[side]


@dataclass
class Picture:
    """A picture that is drawn piece by piece and then written as text."""

    width: int
    height: int
    title: str
    parts: list[str] = field(default_factory=list)

    def box(
        self,
        place: Box,
        name: str,
        note: str = "",
        *,
        kind: Kind = "plain",
        tip: str = "",
        is_dashed: bool = False,
    ) -> Box:
        """A box with a name and a small line below it; `tip` is shown on hovering."""
        colour = KINDS[kind]
        dashed = ' stroke-dasharray="5 4"' if is_dashed else ""
        x, y = place.x + place.width / 2, place.y + place.height / 2
        self.parts.append(
            f"<g>{f'<title>{escape(tip)}</title>' if tip else ''}"
            f'<rect class="box" x="{place.x:g}" y="{place.y:g}" width="{place.width:g}" '
            f'height="{place.height:g}" rx="8" fill="{colour}" stroke="{colour}"{dashed}/>'
        )
        size = min(14, int((place.width - 8) / (0.57 * max(1, len(name)))))  # so that it fits
        self.text(x, y - 4 if note else y + 5, name, size=size, weight=600)
        if note:
            self.text(x, y + 13, note, size=11, is_soft=True)
        self.parts.append("</g>")
        return place

    def text(
        self,
        x: float,
        y: float,
        words: str,
        *,
        size: int = 14,
        weight: int = 400,
        anchor: Literal["start", "middle", "end"] = "middle",
        is_soft: bool = False,
    ) -> None:
        """A line of words, `y` being its base line."""
        soft = ' class="soft"' if is_soft else ""
        self.parts.append(
            f'<text x="{x:g}" y="{y:g}" font-size="{size}" font-weight="{weight}" '
            f'text-anchor="{anchor}"{soft}>{escape(words)}</text>'
        )

    def arrow(
        self,
        start: tuple[float, float],
        end: tuple[float, float],
        words: str = "",
        *,
        via: tuple[tuple[float, float], ...] = (),
        is_dashed: bool = False,
    ) -> None:
        """A line with a head at its end, by way of the corners `via`."""
        corners = " L".join(f"{x:g} {y:g}" for x, y in (start, *via, end))
        kind = "arrow dashed" if is_dashed else "arrow"
        self.parts.append(f'<path class="{kind}" d="M{corners}" marker-end="url(#vl-head)"/>')
        if words:
            x, y = (start[0] + end[0]) / 2, (start[1] + end[1]) / 2
            self.text(x, y - 6, words, size=11, is_soft=True)

    def render(self) -> str:
        """The picture as one SVG, without a blank line: Markdown would end a block there."""
        head = (
            '<marker id="vl-head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" '
            'markerHeight="7" orient="auto"><path class="head" d="M0 0L8 4L0 8z"/></marker>'
        )
        lines = [
            f'<svg class="vl" xmlns="http://www.w3.org/2000/svg" role="img" '
            f'viewBox="0 0 {self.width} {self.height}" width="{self.width}" '
            f'height="{self.height}" aria-label="{escape(self.title)}">',
            f"<title>{escape(self.title)}</title>",
            f"<style>{_STYLE.strip()}</style><defs>{head}</defs>",
            f'<rect class="paper" width="{self.width}" height="{self.height}" rx="10"/>',
            *self.parts,
            "</svg>",
        ]
        return "\n".join(lines) + "\n"
