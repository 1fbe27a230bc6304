"""The dropped object in 3D: the shipped viewer under the page's policy, in a browser."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import re
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from starlette.testclient import TestClient

from pipelines.service import pages
from tests.chaos.fuzzing import SEEDS
from tests.pipelines.service.browser import DONE, Browser, needs_browser
from tests.vitlens_core.rendering.glb_builder import draco_quad
from vitlens_core.rendering import load_glb

LOADED = "document.querySelector('#stage model-viewer')?.loaded"
NOTE = "document.getElementById('object-note').textContent"


def _cloud_of_npy() -> bytes:
    file = io.BytesIO()
    np.save(file, np.random.default_rng(0).random((200, 6)))
    return file.getvalue()


# Name of a file → its bytes, and the corners of what it shows: points have one.
SHAPES: dict[str, tuple[Callable[[], bytes], int]] = {
    "cloud.ply": (SEEDS["point_cloud", "a.ply"], 1),
    "text.ply": (SEEDS["point_cloud", "t.ply"], 1),
    "surface.ply": (
        lambda: (
            b"ply\nformat ascii 1.0\nelement vertex 3\nproperty float x\nproperty float y\n"
            b"property float z\nelement face 1\nproperty list uchar int vertex_indices\n"
            b"end_header\n0 0 0\n1 0 0\n0 1 0\n3 0 1 2\n"
        ),
        3,
    ),
    "surface.obj": (SEEDS["point_cloud", "a.obj"], 3),
    "scan.obj": (lambda: b"v 0 0 0\nv 1 0 0\nv 0 1 0\nv 0 0 1\n", 1),
    "surface.stl": (SEEDS["point_cloud", "a.stl"], 3),
    "surface.off": (SEEDS["point_cloud", "a.off"], 3),
    "cloud.npy": (_cloud_of_npy, 1),
    "draco.glb": (lambda: draco_quad().pack(), 3),
}


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


@pytest.mark.parametrize("name", SHAPES)
def test_every_format_becomes_a_glb_that_needs_no_decoder(client: TestClient, name: str) -> None:
    make, corners = SHAPES[name]
    answer = client.post("/shape", files={"point_cloud": (name, make())})
    assert (answer.status_code, answer.headers["content-type"]) == (200, "model/gltf-binary")
    assert answer.headers["x-content-type-options"] == "nosniff"
    mesh = load_glb(answer.content)
    assert mesh.corners == corners
    assert max(mesh.bounds()[1] - mesh.bounds()[0]) == pytest.approx(0.8)  # whatever its unit was
    assert b"extensionsRequired" not in answer.content


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        ({"point_cloud": ("cut.ply", b"ply\nformat ascii 1.0\nelement vertex 9\n")}, "cut.ply"),
        ({"point_cloud": ("nan.obj", b"v nan 0 0\nv 1 0 0\n")}, "not finite"),
        ({"point_cloud": ("page.glb", b"<!doctype html><p>none")}, "page.glb"),
        ({"image": ("a.png", b"no picture")}, "an object as 'image'"),
        ({"text": (None, "a chair")}, "an object as 'text'"),
    ],
)
def test_what_has_no_shape_is_refused(
    client: TestClient, files: dict[str, tuple[str | None, str | bytes]], reason: str
) -> None:
    answer = client.post("/shape", files=files)
    assert answer.status_code == 422
    assert set(answer.json()) == {"error", "expected"}
    assert reason in answer.json()["error"]


def test_one_object_is_shown_at_a_time(client: TestClient) -> None:
    cloud = ("point_cloud", ("a.obj", SEEDS["point_cloud", "a.obj"]()))
    assert client.post("/shape", files=[cloud, cloud]).status_code == 422
    entry = {"modality": "point_cloud", "entry": "0123456789abcdef/0"}
    assert "item of the index" in client.post("/shape", json={"inputs": [entry]}).json()["error"]


@needs_browser
@pytest.mark.parametrize("name", ["cloud.ply", "surface.ply", "surface.obj", "draco.glb"])
def test_other_formats_turn_too(page: Browser, name: str) -> None:
    page.run("window.ask = () => {}")  # only the viewer is meant here
    page.drop(name, SHAPES[name][0]())
    page.wait(LOADED, 180)  # the child that reads files starts with the first one
    assert page.run(f"{NOTE}.startsWith({json.dumps(name)})")
    page.wait("document.querySelector('#stage model-viewer').turntableRotation > 0.01")
    assert set(page.run("window.refused")) <= {"wasm-eval"}


@needs_browser
@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("small.glb", {"extensionsRequired": ["EXT_meshopt_compression"]}, "meshopt"),
        ("small.glb", {"extensionsRequired": ["KHR_texture_basisu"]}, "basisu"),
        ("broken.glb", None, "It cannot be shown: "),
        ("broken.ply", None, "It cannot be shown: "),
    ],
)
def test_what_cannot_be_shown_is_said_in_words(
    page: Browser, name: str, content: dict[str, object] | None, told: str
) -> None:
    page.run("window.ask = () => {}")
    whole = _glb({"asset": {"version": "2.0"}, **(content or {})})
    page.drop(name, whole if content else whole[:40])
    page.wait(f"{NOTE}.includes({json.dumps(told)})", 180)
    assert page.run("document.querySelector('model-viewer') === null")


@needs_browser
def test_a_whole_head_without_an_object_leaves_no_empty_frame(page: Browser) -> None:
    page.run("window.ask = () => {}")
    page.drop("empty.glb", _glb({"asset": {"version": "2.0"}, "scenes": [{"nodes": [7]}]}))
    page.wait(f"{NOTE} === 'The viewer cannot show this file.'")


def _glb(document: dict[str, object]) -> bytes:
    text = json.dumps(document).encode()
    text += b" " * (-len(text) % 4)
    return struct.pack("<4sIIII", b"glTF", 2, 20 + len(text), len(text), 0x4E4F534A) + text
