"""theme: makes drawings follow the page's colours, light or dark.

A drawing is made with the placeholder colours of this module (`INK`, `ACCENT`, …) and `STYLE`;
`inline` replaces them by the page's variables, `standalone` by fixed colours for a file of its own.
"""

from __future__ import annotations

import io
import re
from typing import Any

from matplotlib.figure import Figure

# Placeholder: the page's variable, and the fixed colour for a file of its own.
_COLOURS = {
    "#000001": ("var(--ink)", "#1a1e24"),
    "#000002": ("var(--muted)", "#5b6572"),
    "#000003": ("var(--line)", "#dfe3e9"),
    "#000004": ("var(--accent)", "#3d5adf"),
    "#000005": ("var(--second)", "#9aa5b4"),
    "#000006": ("var(--bad)", "#c9302c"),
}
INK, MUTED, LINE, ACCENT, SECOND, BAD = _COLOURS
STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",  # text stays text, in the page's font
    "svg.hashsalt": "vitlens",
    "font.size": 9,
    "axes.edgecolor": LINE,
    "axes.labelcolor": MUTED,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.titlesize": 10,
    "axes.titlecolor": INK,
    "axes.titlelocation": "left",
    "grid.color": LINE,
    "grid.linewidth": 0.6,
    "text.color": INK,
    "xtick.color": LINE,
    "ytick.color": LINE,
    "xtick.labelcolor": MUTED,
    "ytick.labelcolor": MUTED,
    "lines.linewidth": 1.8,
    "legend.frameon": False,
}


def inline(figure: Figure, title: str) -> str:
    """The bare `svg` element, sized by the page, in its font and its colours."""
    svg = _svg(figure, transparent=True)
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"font-family: [^;]*; ", "", svg)
    svg = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", svg, count=1)
    svg = re.sub(
        r'(<svg[^>]*?) width="[^"]*"', rf'\1 role="img" aria-label="{title}"', svg, count=1
    )
    for code, (variable, _) in _COLOURS.items():
        svg = svg.replace(code, variable)
    return svg


def standalone(figure: Figure) -> str:
    """A whole SVG file on white."""
    svg = _svg(figure, transparent=False)
    for code, (_, fixed) in _COLOURS.items():
        svg = svg.replace(code, fixed)
    return svg


def _svg(figure: Figure, *, transparent: bool) -> str:
    buffer = io.StringIO()
    nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    figure.savefig(buffer, format="svg", transparent=transparent, metadata=nothing)
    return buffer.getvalue()
