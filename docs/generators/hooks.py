"""hooks: what MkDocs is told while it builds the pages; see mkdocs.yml.

    <!-- generated: steps -->  becomes what `fragments` makes of the code
    <!-- picture: flow -->     becomes the picture itself, so that it takes the page's colours
    <!-- file: docs/quickstart.py -->  becomes the file

Whatever a reader's browser would fetch from elsewhere ends the build.
"""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import Any

from docs.generators.fragments import FRAGMENTS
from docs.generators.pictures import PICTURES

# Warnings of this family end a strict build.
logger = logging.getLogger("mkdocs.hooks.vitlens")

_ROOT = Path(__file__).parents[2]
_MARKER = re.compile(r"^<!-- (generated|picture|file): (\S+) -->$", re.MULTILINE)
_FETCHED = re.compile(
    r"""<(?:script|img|link|iframe|source|video)\b[^>]*\s(?:src|href)=["']?(?:https?:)?//"""
)
_FETCHED_BY_STYLE = re.compile(r"""(?:url\(|@import)\s*["']?(?:https?:)?//""")


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Fill the markers of a page in."""

    def filled(marker: re.Match[str]) -> str:
        kind, name = marker.groups()
        if kind == "file":
            return f"```python\n{(_ROOT / name).read_text()}```"
        if kind == "generated" and name in FRAGMENTS:
            return FRAGMENTS[name]()
        if kind == "picture" and name in PICTURES:
            return f'<div class="picture">\n{PICTURES[name]().render()}</div>'
        logger.warning("%s: no %s %r", page.file.src_uri, kind, name)
        return ""

    return _MARKER.sub(filled, markdown)


def on_post_build(config: Any, **_: Any) -> None:
    """Warn of whatever a page or style would fetch from another host."""
    site = Path(config.site_dir)
    for path in sorted(site.rglob("*.html")):
        if found := _FETCHED.search(path.read_text()):
            logger.warning("%s fetches from elsewhere: %s", path.relative_to(site), found[0])
    for path in sorted(site.rglob("*.css")):
        if found := _FETCHED_BY_STYLE.search(path.read_text()):
            logger.warning("%s fetches from elsewhere: %s", path.relative_to(site), found[0])
