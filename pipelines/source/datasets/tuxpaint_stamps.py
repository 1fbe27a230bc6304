"""Tux Paint's stamps: pictures with captions, many with a recorded sound.

Reads     <name>.txt beside <name>.png and <name>.ogg; fetches Debian's package if asked to.
Writes    the unpacked package under $VITLENS_HOME/packages, once.
Promises  stamps in the order of their paths; stamps that share a caption, or a recording, are in
          one split.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import ClassVar, Literal

from pydantic import Field

from pipelines.source.base import PACKAGE, Pair, SourceSettings
from pipelines.source.clips import key_of
from pipelines.store.files import file_entry, made_once
from vitlens_core.confinement import resolve_inside
from vitlens_core.errors import ConfigError, IntegrityError, TransientError

# Folders of the collection with one kind of thing; stamps in other folders have no label.
KINDS = {
    "animals/birds/": "bird",
    "animals/insects/": "insect",
    "animals/mammals/aquatic/": "sea mammal",
    "animals/mammals/bears/": "carnivore",
    "animals/mammals/bovines/": "hoofed animal",
    "animals/mammals/camel/": "hoofed animal",
    "animals/mammals/cats/": "carnivore",
    "animals/mammals/deer/": "hoofed animal",
    "animals/mammals/dogs/": "carnivore",
    "animals/mammals/equines/": "hoofed animal",
    "animals/mammals/rodents/": "rodent",
    "hobbies/music/": "musical instrument",
    "household/": "household object",
}
# Letters, digits and the sides of a dreidel: the recording is their name, read aloud.
_READ_ALOUD = ("symbols/alphabets/", "symbols/math/", "seasonal/hanukkah/dreydl")
# Several stamps with the same recording or with cuts of it (found by cross-correlation).
_SHARED_RECORDINGS = {
    "animals/mammals/badger": "badger and beaver",
    "animals/mammals/rodents/beaver": "badger and beaver",
    "animals/mammals/bovines/goat": "goats and ram",
    "animals/mammals/bovines/mountaingoat": "goats and ram",
    "animals/mammals/bovines/ram": "goats and ram",
    "animals/mammals/camel/camel": "camels",
    "animals/mammals/camel/dromedary": "camels",
    "household/arttools/scissors_small_closed": "scissors",
    "household/arttools/scissors_small_open": "scissors",
}


@dataclass(frozen=True)
class DebianPackage:
    """One build of a package, as `apt-get download` delivers it."""

    name: str
    version: str
    sha256: str

    @property
    def file(self) -> str:
        return f"{self.name}_{self.version}_all.deb"


STAMPS = DebianPackage(
    "tuxpaint-stamps-default",
    "2022.06.04-1",
    "6db6c1bfc870a47f1499d6203b083522eacb57c5f9c87d468f2e92eb6d9d5f34",
)


class TuxpaintStamps(SourceSettings):
    """The stamps of the drawing program Tux Paint: image, text and, for some, sound.

    Layout (usr/share/tuxpaint/stamps of Debian's tuxpaint-stamps-default 2022.06.04-1):

        <category>/…/<name>.txt             first line: the English caption; then other languages
        <category>/…/<name>.png             the picture, transparent around the thing
        <category>/…/<name>.svg             instead of a PNG, or beside it; not read
        <category>/…/<name>.ogg             what the thing sounds like
        <category>/…/<name>_desc*.ogg       the caption read aloud: not a sound of the thing
        <category>/…/<name>_<language>.ogg  the name read aloud: neither

    Licence: GPL-2, Bill Kendrick and contributors. 161 MB, fetched when first asked for.

    Of 950 stamps 785 have a PNG. Of 134 with a sound, 28 are letters, digits and dreidels read
    aloud and 3 have no PNG, which leaves 103 triples; 4 of their recordings are silent and are
    refused when they are stored. Recordings last 0.2 to 10 s. A caption or a recording that
    several stamps share keeps them on one side.

    Protocol: none is published, and no split. The label is the kind that the collection's own
    folders tell apart (KINDS), coarse because a finer one would have one sound each: 66 sounds
    that are not silent in 8 kinds of 4 to 17, of which a quarter are birds and as many hoofed
    animals, so that the mean over classes says more than top-1.
    """

    modalities: ClassVar[tuple[str, ...]] = ("audio",)
    package: ClassVar[DebianPackage] = STAMPS

    kind: Literal["tuxpaint_stamps"] = "tuxpaint_stamps"
    root: str = Field(PACKAGE, description="`package`, or the folder of the stamps")
    sound: bool = Field(
        True, description="stamps with a sound; false: all pictures with captions, for a foundation"
    )

    def folder(self) -> Path:
        """Return the stamps' folder; the package is fetched first, once per machine.

        Raises:
            ConfigError: no such folder, or no apt-get or dpkg-deb here.
            IntegrityError: it is not the pinned build.
            TransientError: the package could not be fetched.
        """
        if self.root != PACKAGE:
            return super().folder()
        return unpacked(self.package, self._home.packages) / "usr/share/tuxpaint/stamps"

    def pairs(self) -> Iterator[Pair]:
        """Stamps in the order of their paths. Raises ConfigError."""
        folder = self.folder()
        captions = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.txt"))
        stamps = [path.removesuffix(".txt") for path in captions if self._is_taken(folder, path)]
        if not stamps:
            raise ConfigError(
                f"source.root: no stamp (<name>.txt beside <name>.png"
                f"{' and <name>.ogg' if self.sound else ''}) under {folder}"
            )
        for stamp in stamps:
            caption = _caption(self.place(f"{stamp}.txt"))
            shared = _SHARED_RECORDINGS.get(stamp) if self.sound else None
            yield Pair(
                key=key_of(stamp.replace("/", "-")),
                signal=f"{stamp}.ogg" if self.sound else f"{stamp}.png",
                images=(f"{stamp}.png",),
                texts=(caption,),
                label=next((kind for at, kind in KINDS.items() if stamp.startswith(at)), None),
                group=shared or caption.lower(),
                name=caption,
                licence="GPL-2",
                creator="Bill Kendrick and contributors",
            )

    def _is_taken(self, folder: Path, caption: str) -> bool:
        stamp = resolve_inside(folder, caption)
        if not stamp.with_suffix(".png").is_file():
            return False
        if not self.sound:
            return True
        return stamp.with_suffix(".ogg").is_file() and not caption.startswith(_READ_ALOUD)


def unpacked(package: DebianPackage, packages: Path) -> Path:
    """The folder of an unpacked package; fetched, checked and unpacked if it is not there.

    Args:
        packages: where packages are kept; a .deb that already lies there is taken.

    Raises:
        ConfigError, IntegrityError, TransientError: see `TuxpaintStamps.folder`.
    """
    kept = packages / f"{package.name}-{package.version}"
    return made_once(kept, partial(_unpack, package, packages))


def _unpack(package: DebianPackage, packages: Path, scratch: Path) -> Path:
    by_hand = f"or put {package.file} (Debian's archive has it) into {packages} yourself"
    archive = packages / package.file
    if not archive.is_file():
        _run(["apt-get", "download", f"{package.name}={package.version}"], scratch, by_hand)
        archive = scratch / package.file
    if (found := file_entry(archive).sha256) != package.sha256:
        raise IntegrityError(
            f"{archive}: expected SHA-256 {package.sha256}, found {found}: another build, or "
            f"damaged; delete it and try again, {by_hand}"
        )
    whole = scratch / "whole"
    _run(["dpkg-deb", "-x", str(archive), str(whole)], scratch, by_hand)
    return whole


def _run(command: list[str], folder: Path, by_hand: str) -> None:
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        raise ConfigError(
            f"{command[0]} is not installed, but {' '.join(command)} needs it; install it, "
            "or unpack the package elsewhere and name its usr/share/tuxpaint/stamps as source.root"
        ) from error
    if done.returncode:
        raise TransientError(
            f"{' '.join(command)} failed: {done.stderr.strip()}; try again, {by_hand}"
        )


def _caption(path: Path) -> str:
    """The English caption of a stamp."""
    try:
        first, *_ = path.read_text(encoding="utf-8").splitlines() or [""]
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: expected text in UTF-8: {error}") from error
    if not first.strip():
        raise ConfigError(f"{path}, line 1: expected an English caption, found none")
    return first.strip()
