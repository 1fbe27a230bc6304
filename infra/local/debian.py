"""Programs of Debian's packages, unpacked into a folder of the user: no root is needed.

What the machine has on its PATH is taken from there.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path


class MissingError(Exception):
    """A program is neither installed nor to be had."""


def cache() -> Path:
    """Return where packages are unpacked: `$XDG_CACHE_HOME/vitlens/debian`."""
    root = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(root, "vitlens", "debian")


def program(name: str, package: str, inside: str = "usr/bin") -> Path:
    """Return the path of a program, whose package is downloaded if the machine lacks it.

    Args:
        inside: the folder of the package that holds the program.

    Raises:
        MissingError: it is not installed, and the package cannot be downloaded.
    """
    if installed := shutil.which(name) or shutil.which(name, path=f"/{inside}"):
        return Path(installed)
    found = unpacked(package) / inside / name
    if not found.exists():
        raise MissingError(f"package {package} has no {inside}/{name}")
    return found


def unpacked(package: str) -> Path:
    """Return the folder of an unpacked package (`MissingError`)."""
    folder = cache() / package
    if folder.exists():
        return folder
    if not shutil.which("apt-get"):
        raise MissingError(f"install {package}: this machine has no apt-get to fetch it with")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
        _download(package, Path(scratch))
        [archive] = Path(scratch).glob("*.deb")
        subprocess.run(["dpkg-deb", "-x", archive, Path(scratch, "root")], check=True)
        Path(scratch, "root").rename(folder)
    return folder


def _download(package: str, folder: Path) -> None:
    """Download a package; where the lists are missing or old, they are fetched first."""
    command = ["apt-get", "download", "-qq", package]
    if subprocess.run(command, cwd=folder, capture_output=True, check=False).returncode == 0:
        return
    subprocess.run(["apt-get", "update", "-qq"], capture_output=True, check=False)
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        raise MissingError(f"{package} cannot be downloaded: {done.stderr.strip()}")
