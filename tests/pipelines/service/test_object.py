"""The dropped object in 3D: the shipped viewer under the page's policy, in a browser."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import struct
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from pipelines.service import pages
from tests.pipelines.service.browser import DONE, Browser, needs_browser

LOADED = "document.querySelector('#stage model-viewer')?.loaded"
NOTE = "document.getElementById('object-note').textContent"


def test_the_viewer_is_that_of_its_makers(client: TestClient) -> None:
    """The bytes of @google/model-viewer 4.1.0 on npm, its licence, and the policy's one style."""
    viewer = client.get(pages.VIEWER_FILE)
    assert hashlib.sha256(viewer.content).hexdigest() == (
        "8367184a607fbe07a78b650c0d359e5ebbd96f7e2b22f95f761f559b63430386"
    )
    assert "immutable" in viewer.headers["cache-control"]
    licence = client.get(pages.VIEWER_FILE.rpartition("/")[0] + "/LICENSE")
    assert "Apache License" in licence.text
    styles = re.findall(r"<style>(.*?)</style>", viewer.text, re.DOTALL)
    digests = [base64.b64encode(hashlib.sha256(s.encode()).digest()).decode() for s in styles]
    assert [f"sha256-{d}" for d in digests] == [pages.VIEWER_STYLE]


def test_nothing_is_allowed_but_the_page_itself(client: TestClient) -> None:
    policy = client.get("/").headers["content-security-policy"]
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules["default-src"] == "'self'"
    assert rules["connect-src"] == "'self' blob:"
    assert "unsafe" not in policy
    assert "http" not in policy


@needs_browser
def test_a_dropped_object_turns_beside_what_is_found(page: Browser, glbs: list[Path]) -> None:
    page.drop("cup.glb", glbs[0].read_bytes())
    page.wait(LOADED)
    page.wait(DONE, 180)  # the child that reads files starts with the first one
    assert page.run(f"{NOTE}.startsWith('cup.glb')")
    assert page.run("document.querySelector('#stage model-viewer').autoRotate")
    turned = "document.querySelector('#stage model-viewer').turntableRotation"
    page.wait(f"{turned} > 0.01")
    # meshopt's decoder alone is refused, which only files compressed with it would need.
    assert set(page.run("window.refused")) <= {"wasm-eval"}
    names = page.run("performance.getEntriesByType('resource').map((entry) => entry.name)")
    origin = page.run("location.origin")
    assert all(name.startswith((origin, f"blob:{origin}")) for name in names)
    page.run("document.getElementById('words').focus()")
    page.type("a chair")
    page.wait("document.getElementById('object').hidden")


@needs_browser
@pytest.mark.parametrize(
    ("extension", "told"),
    [
        ("KHR_draco_mesh_compression", "compressed with Draco"),
        ("EXT_meshopt_compression", "compressed with meshopt"),
    ],
)
def test_what_the_viewer_does_not_read_is_said(page: Browser, extension: str, told: str) -> None:
    page.run("window.ask = () => {}")  # only the viewer is meant here
    page.drop("small.glb", _glb({"asset": {"version": "2.0"}, "extensionsRequired": [extension]}))
    page.wait(f"{NOTE}.includes({json.dumps(told)})")
    assert page.run("document.querySelector('model-viewer') === null")


@needs_browser
def test_a_damaged_object_leaves_no_empty_frame(page: Browser) -> None:
    page.run("window.ask = () => {}")
    page.drop("broken.glb", _glb({"asset": {"version": "2.0"}})[:40])
    page.wait(f"{NOTE} === 'The viewer cannot show this file.'")


def _glb(document: dict[str, object]) -> bytes:
    text = json.dumps(document).encode()
    text += b" " * (-len(text) % 4)
    return struct.pack("<4sIIII", b"glTF", 2, 20 + len(text), len(text), 0x4E4F534A) + text
