import hashlib
import os
import shutil
import subprocess
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import soundfile

from pipelines.source.base import Pair
from pipelines.source.datasets.tuxpaint_stamps import DebianPackage, TuxpaintStamps, unpacked
from tests.pipelines.source.datasets.small_sounds import (
    stored,
    write_picture,
    write_sound,
    write_text,
)
from vitlens_core.errors import ConfigError, InputError, IntegrityError, TransientError

FROG, OWL = "animals/amphibians/frog", "animals/birds/owl"
COW, WHITE_COW = "animals/mammals/bovines/cow", "animals/mammals/bovines/cow_white"
RAM, GOAT = "animals/mammals/bovines/ram", "animals/mammals/bovines/goat"
ZERO, DREIDEL = "symbols/math/0", "seasonal/hanukkah/dreydl-nun"


def write_stamp(root: Path, stamp: str, caption: str, *, sound: bool = True) -> None:
    write_text(root / f"{stamp}.txt", caption, "de.utf8=Etwas.")
    write_picture(root / f"{stamp}.png", (200, 30, 30, 0))
    write_sound(root / f"{stamp}_desc.ogg")
    write_sound(root / f"{stamp}_desc_de.ogg")
    if sound:
        write_sound(root / f"{stamp}.ogg", rate_hz=44_100)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    stamps = tmp_path / "stamps"
    captions = {WHITE_COW: "A cow.", OWL: "An owl.", FROG: "A frog.", COW: "A cow."}
    named = {RAM: "A ram.", GOAT: "A goat.", ZERO: "Zero.", DREIDEL: "Nun stands for nothing."}
    for stamp, caption in (captions | named).items():
        write_stamp(stamps, stamp, caption)
    write_stamp(stamps, "food/fruit/apple", "An apple.", sound=False)
    write_picture(stamps / "food/fruit/apple_mirror.png")
    write_text(stamps / "household/kettle.txt", "A kettle.")  # an SVG alone
    write_sound(stamps / "household/kettle.ogg")
    return stamps


def test_stamps_with_a_picture_and_a_sound_come_by_path(root):
    pairs = list(TuxpaintStamps(root=str(root)).pairs())
    assert [pair.signal for pair in pairs] == [
        f"{stamp}.ogg" for stamp in (FROG, OWL, COW, WHITE_COW, GOAT, RAM)
    ]
    assert pairs[1] == Pair(
        key="animals-birds-owl",
        signal="animals/birds/owl.ogg",
        images=("animals/birds/owl.png",),
        texts=("An owl.",),
        label="bird",
        group="an owl.",
        name="An owl.",
        licence="GPL-2",
        creator="Bill Kendrick and contributors",
    )
    assert [pair.label for pair in pairs[:3]] == [None, "bird", "hoofed animal"]


def test_without_sound_every_picture_is_its_own_signal(root):
    pairs = list(TuxpaintStamps(root=str(root), sound=False).pairs())
    assert len(pairs) == 9
    assert all((pair.signal,) == pair.images for pair in pairs)
    assert "Zero." in {pair.name for pair in pairs}


@pytest.mark.parametrize(("sound", "share_recording"), [(True, True), (False, False)])
def test_a_shared_caption_or_recording_is_one_group(root, sound, share_recording):
    pairs = TuxpaintStamps(root=str(root), sound=sound).pairs()
    groups = {pair.images[0]: pair.group for pair in pairs}
    assert groups[f"{COW}.png"] == groups[f"{WHITE_COW}.png"]
    assert (groups[f"{RAM}.png"] == groups[f"{GOAT}.png"]) is share_recording
    assert groups[f"{OWL}.png"] != groups[f"{FROG}.png"]


def test_a_sound_is_stored_and_its_picture_lies_on_white(root):
    source = TuxpaintStamps(root=str(root))
    pair = next(source.pairs())
    assert stored(source, pair).shape == (2, 20, 16)
    (picture,) = source.images(pair)
    assert picture.dtype == np.uint8
    assert (picture == 255).all()


def test_a_silent_recording_is_refused_when_it_is_stored(root):
    soundfile.write(root / f"{FROG}.ogg", np.zeros(4_000), 16_000)
    source = TuxpaintStamps(root=str(root))
    with pytest.raises(InputError, match="found silence"):
        stored(source, next(source.pairs()))


@pytest.mark.parametrize("caption", [b"", b"\n", b"  \nde.utf8=x\n"])
def test_a_stamp_without_a_caption_is_refused(root, caption):
    (root / f"{OWL}.txt").write_bytes(caption)
    with pytest.raises(ConfigError, match=r"owl\.txt, line 1: expected an English caption"):
        list(TuxpaintStamps(root=str(root)).pairs())


def test_a_caption_in_another_encoding_is_refused(root):
    (root / f"{OWL}.txt").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match=r"owl\.txt: expected text in UTF-8"):
        list(TuxpaintStamps(root=str(root)).pairs())


def test_a_folder_without_stamps_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"no stamp .* under"):
        list(TuxpaintStamps(root=str(tmp_path)).pairs())


@pytest.fixture(scope="module")
def deb(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A package with one stamp, as Debian packs them."""
    if shutil.which("dpkg-deb") is None:
        pytest.skip("dpkg-deb is not installed")
    tree = tmp_path_factory.mktemp("deb") / "tree"
    write_stamp(tree / "usr/share/tuxpaint/stamps", OWL, "An owl.")
    control = ("Package: stamps", "Version: 1-1", "Architecture: all", "Maintainer: a <a@b.c>")
    write_text(tree / "DEBIAN/control", *control, "Description: stamps")
    path = tree.parent / "stamps_1-1_all.deb"
    subprocess.run(["dpkg-deb", "--build", tree, path], check=True, capture_output=True)
    return path


@pytest.fixture
def package(deb: Path) -> DebianPackage:
    return DebianPackage("stamps", "1-1", hashlib.sha256(deb.read_bytes()).hexdigest())


@pytest.fixture
def apt_get(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A script in apt-get's place, which a test fills in."""
    script = tmp_path / "bin" / "apt-get"
    script.parent.mkdir()
    monkeypatch.setenv("PATH", f"{script.parent}{os.pathsep}{os.environ['PATH']}")
    return script


def answer(apt_get: Path, *lines: str) -> None:
    write_text(apt_get, "#!/bin/sh", *lines)
    apt_get.chmod(0o755)


def test_a_package_is_fetched_once_and_read(deb, package, apt_get, tmp_path, monkeypatch):
    package_of_one = package
    answer(apt_get, '[ "$*" = "download stamps=1-1" ] || exit 1', f"cp {deb} .")
    monkeypatch.setenv("VITLENS_HOME", str(tmp_path / "home"))

    class OneStamp(TuxpaintStamps):
        package: ClassVar[DebianPackage] = package_of_one

    source = OneStamp()
    (pair,) = source.pairs()
    assert stored(source, pair).shape == (2, 20, 16)
    answer(apt_get, "exit 1")
    assert list(source.pairs()) == [pair]
    assert [path.name for path in (tmp_path / "home/packages").iterdir()] == ["stamps-1-1"]


def test_a_package_put_there_by_hand_is_taken(deb, package, apt_get, tmp_path):
    answer(apt_get, "exit 1")
    shutil.copy(deb, tmp_path / package.file)
    assert (unpacked(package, tmp_path) / "usr/share/tuxpaint/stamps" / f"{OWL}.png").is_file()


def test_another_build_is_refused(deb, package, apt_get, tmp_path):
    answer(apt_get, f"cp {deb} .")
    other = DebianPackage(package.name, package.version, "0" * 64)
    with pytest.raises(IntegrityError, match=f"expected SHA-256 0+, found {package.sha256}"):
        unpacked(other, tmp_path / "packages")
    assert not list((tmp_path / "packages").iterdir())


def test_a_failed_fetch_says_how_to_do_it_by_hand(package, apt_get, tmp_path):
    answer(apt_get, "echo 'E: no such version' >&2", "exit 100")
    with pytest.raises(TransientError, match=r"E: no such version.*put stamps_1-1_all\.deb"):
        unpacked(package, tmp_path)


def test_a_machine_without_apt_is_told_so(package, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ConfigError, match=r"apt-get is not installed.*source\.root"):
        unpacked(package, tmp_path)
