"""thumbnails: makes small square pictures of views, for pages and indexes."""

from __future__ import annotations

from PIL import Image

from pipelines.store.shards import open_png

_MARGIN = 0.06  # around the object, as a share of the picture's side


def thumbnail(png: bytes, size_px: int) -> Image.Image:
    """Cut a view to the square around its opaque part, and resize it.

    Raises:
        IntegrityError: the view is no PNG that can be read.
    """
    image = open_png(png).convert("RGBA")
    left, top, right, bottom = image.getchannel("A").getbbox() or (0, 0, *image.size)
    half = max(right - left, bottom - top) / 2 / (1 - 2 * _MARGIN)
    x, y = (left + right) / 2, (top + bottom) / 2
    square = image.crop((round(x - half), round(y - half), round(x + half), round(y + half)))
    return square.resize((size_px, size_px), Image.Resampling.LANCZOS)
