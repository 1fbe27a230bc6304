"""pages: the explorer's files, by the path at which they are served, and what they may load.

`model-viewer` is shipped as its makers published it (npm, `@google/model-viewer` 4.1.0, licence
beside it), so that no page loads anything from another site.
"""

from __future__ import annotations

from pathlib import Path

_FOLDER = Path(__file__).with_name("page")
_VIEWER = "model-viewer-4.1.0"  # in the path, so that browsers may keep it for ever
VIEWER_FILE = f"/{_VIEWER}/model-viewer.min.js"
FILES = {
    "/": _FOLDER / "index.html",
    "/explorer.css": _FOLDER / "explorer.css",
    "/explorer.js": _FOLDER / "explorer.js",
    "/items.js": _FOLDER / "items.js",
    "/object.js": _FOLDER / "object.js",
    "/verbs.js": _FOLDER / "verbs.js",
    "/report.css": Path(__file__).parents[1] / "report" / "report.css",  # one style for both
    VIEWER_FILE: _FOLDER / _VIEWER / "model-viewer.min.js",
    f"/{_VIEWER}/LICENSE": _FOLDER / _VIEWER / "LICENSE",
}
# Of the one style sheet that model-viewer writes into its own element.
VIEWER_STYLE = "sha256-yhlpZVZMy2vXExwTGihUWVSrOxyhMuvj+Ygg7pyBWek="
# A dropped object and its textures are blobs of this page, which three.js fetches.
_POLICY = (
    f"default-src 'self'; connect-src 'self' blob:; img-src 'self' blob: data:; "
    f"style-src 'self' '{VIEWER_STYLE}'; frame-ancestors 'none'"
)


def headers(path: str) -> dict[str, str]:
    """Return the headers with which a file is served."""
    kept = "max-age=31536000, immutable" if _VIEWER in path else "no-cache"
    return {"content-security-policy": _POLICY, "cache-control": kept}
