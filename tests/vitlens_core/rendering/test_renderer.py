"""Opening a renderer: what is missing is named before any object is touched."""

import sys

import pytest

from vitlens_core.errors import ConfigError
from vitlens_core.rendering import RenderSettings, open_renderer


@pytest.mark.parametrize("package", ["fpsample", "moderngl"])
def test_a_missing_package_names_the_extra(monkeypatch: pytest.MonkeyPatch, package: str) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.delitem(sys.modules, "vitlens_core.rendering.rasterizer", raising=False)
    with pytest.raises(ConfigError, match=rf"{package}.*vitlens\[render\]"):
        open_renderer(RenderSettings())
