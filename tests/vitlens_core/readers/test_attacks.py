"""Files that would have a decoder open something else, or run something."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import EpsImagePlugin, Image

from tests.chaos.fuzzing import picture, preparation, video
from vitlens_core.api.untrusted import UntrustedReader
from vitlens_core.errors import InputError
from vitlens_core.readers.pictures import read_rgb
from vitlens_core.readers.videos import read_frames

EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n%%EOF\n"


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    """A video beside the hostile file, which it would show."""
    (tmp_path / "secret.avi").write_bytes(video("avi", "mpeg4"))
    return tmp_path / "secret.avi"


@pytest.mark.parametrize(
    "content",
    [
        "ffconcat version 1.0\nfile secret.avi\n",
        "ffconcat version 1.0\nfile {path}\n",
        "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nsecret.avi\n#EXT-X-ENDLIST\n",
        "#EXTM3U\n#EXT-X-MEDIA-SEQUENCE:0\n#EXTINF:10.0,\nfile://{path}\n#EXT-X-ENDLIST\n",
        "<?xml version='1.0'?><MPD xmlns='urn:mpeg:dash:schema:mpd:2011' type='static'><Period>"
        "<AdaptationSet><Representation id='0' bandwidth='1'><BaseURL>secret.avi</BaseURL>"
        "</Representation></AdaptationSet></Period></MPD>",
        "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nm=video 5004 RTP/AVP 96\n",
        "<smil><body><video src='{path}'/></body></smil>",
        "[playlist]\nFile1={path}\nNumberOfEntries=1\n",
    ],
)
@pytest.mark.parametrize("ending", [".mp4", ".avi", ".mkv", ".ts", ".mpg", ".ogv", ".flv"])
def test_a_playlist_is_no_video(secret: Path, content: str, ending: str) -> None:
    hostile = secret.with_name(f"hostile{ending}")
    hostile.write_text(content.format(path=secret))
    with pytest.raises(InputError):
        read_frames(hostile, 4)


@pytest.mark.parametrize("ending", [".png", ".jpg", ".gif", ".tif", ".webp", ".bmp", ".ppm"])
@pytest.mark.parametrize("start", [b"", b"\xc5\xd0\xd3\xc6" + (32).to_bytes(4, "little")])
def test_no_picture_reaches_ghostscript(
    tmp_path: Path, ending: str, start: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[object] = []
    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", lambda *a, **k: asked.append(a))
    hostile = tmp_path / f"a{ending}"
    hostile.write_bytes(start.ljust(32, b"\0") + EPS if start else EPS)
    with pytest.raises(InputError):
        read_rgb(hostile)
    assert not asked


@pytest.mark.parametrize("kind", ["PDF", "PCX", "TGA", "SGI", "ICO", "DDS", "MSP", "SPIDER"])
@pytest.mark.parametrize("ending", [".png", ".jpg", ".tif"])
def test_formats_that_are_not_listed_are_not_opened(tmp_path: Path, kind: str, ending: str) -> None:
    content = io.BytesIO()
    mode = {"SPIDER": "F", "MSP": "1"}.get(kind, "RGB")
    Image.new(mode, (64, 64)).save(content, kind)
    (tmp_path / f"a{ending}").write_bytes(content.getvalue())
    with pytest.raises(InputError):
        read_rgb(tmp_path / f"a{ending}")


@pytest.mark.parametrize("frames", [0, -1, 10**9, 3000, True, 2.5, float("nan"), "8", None])
def test_the_number_of_frames_is_bounded(secret: Path, frames: object) -> None:
    if frames is True:  # one frame, as Python counts
        assert len(read_frames(secret, 1)) == 1
        return
    with pytest.raises((InputError, TypeError)):
        read_frames(secret, frames)  # ty: ignore[invalid-argument-type]


@pytest.mark.slow
def test_an_untrusted_reader_gives_what_a_trusted_one_does(tmp_path: Path) -> None:
    reader = UntrustedReader()
    path = tmp_path / "a.png"
    path.write_bytes(picture("PNG"))
    image, words = preparation("image"), preparation("text")
    here = image(path, {})
    for item in (path, str(path), path.read_bytes(), np.asarray(Image.open(path))):
        np.testing.assert_array_equal(reader.prepare(image, item, {}), here)
    assert reader.prepare(words, "a chair", {}) == "a chair"
    for item in (tmp_path / "absent.png", b"no file", Path(tmp_path)):
        with pytest.raises(InputError):
            reader.prepare(image, item, {})
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(InputError, match=str(path)):
        reader.prepare(image, path, {})
    reader.close()
