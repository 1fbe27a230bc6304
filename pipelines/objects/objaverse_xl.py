"""objaverse_xl: Objaverse-XL as the downloads of the `objaverse` package (`objaverse.xl`) leave it.

Reads     the annotations, <source>/<source>.parquet with the columns fileIdentifier, license,
          fileType, sha256 and metadata, and below the same folder the files:

    github/repos/<organisation>/<repository>/…      saved with save_repo_format="files"
    thingiverse/thing-<thing>-file-<file>.stl
    smithsonian/objects/<UUID 5 of the fileIdentifier>.glb
    hf-objaverse-v1/glbs/<part>/<uid>.glb           of Sketchfab, as Objaverse 1.0

Promises  an object is known by the sha256 of its file, whatever places it has; what the annotations
          name and the folder lacks is left out, with its number in the log; memory holds what is
          there.

Source: the package's version 0.1.7, and https://huggingface.co/datasets/allenai/objaverse-xl
"""

from __future__ import annotations

import logging
import os
import re
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from pipelines.objects.annotations import labels
from pipelines.objects.layouts import Found, Listing, files_below
from pipelines.store.tables import rows
from pipelines.store.words import caption, word
from vitlens_core import caps
from vitlens_core.confinement import resolve_inside
from vitlens_core.errors import ConfigError, InputError
from vitlens_core.readers.formats import OBJECTS, UNREAD_OBJECTS, endings

logger = logging.getLogger(__name__)

SOURCES = ("github", "thingiverse", "smithsonian", "sketchfab")
_SKETCHFAB_FILES = "hf-objaverse-v1/glbs"
_SKETCHFAB_CLASSES = "hf-objaverse-v1/lvis-annotations.json.gz"
_COLUMNS = ("fileIdentifier", "license", "sha256", "metadata")
_READ = frozenset(endings(OBJECTS))
_ARCHIVES = (".zip", ".tar", ".tar.gz")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_GITHUB = re.compile(r"https://github\.com/([^/]+)/([^/]+)/blob/[^/]+/(.+)")
_THING = re.compile(r"thing:(\d+)/.*fileId=(\d+)$")
_NAMES = ("title", "name", "filename")  # keys of the metadata that name an object
# Words of Creative Commons licences, and what Objaverse calls them; parts that are left are none.
_PARTS = {"attribution": "by", "share alike": "sa", "sharealike": "sa"}
_PARTS |= {"non-commercial": "nc", "noncommercial": "nc", "no derivatives": "nd"}
_PARTS |= {"noderivatives": "nd", "by": "by", "sa": "sa", "nc": "nc", "nd": "nd"}
_CC0 = ("public domain dedication", "creative commons zero")
_CC = re.compile(r"(?:creative commons|cc)\b[\s–-]*(.*)", re.IGNORECASE)


@dataclass
class _Mirror:
    """What is known of a local mirror while its annotations are read."""

    root: Path
    sketchfab: Mapping[str, str]  # path by uid of Objaverse 1.0
    classes: Mapping[str, str]  # LVIS class by the same
    found: dict[str, Found] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)
    lacking: int = 0

    def add(self, source: str, row: Mapping[str, object]) -> None:
        """Take an annotation over, if its file is there and of a format that is read."""
        digest, identifier = word(row["sha256"]).lower(), word(row["fileIdentifier"])
        if not _SHA256.fullmatch(digest):
            raise ValueError(f"{identifier} has no sha256 but {digest!r:.80}")
        if digest in self.found:
            return
        path = _PATHS[source](self, identifier)
        # First the cheap question: most of ten million files are not in a mirror.
        if path is None or not os.path.isfile(f"{self.root}/{path}"):
            self._lacks(digest, source, path)
            return
        try:
            resolve_inside(self.root, path)
        except InputError as error:
            self.refused[digest] = f"{identifier}: {error}"
            return
        ending = PurePosixPath(path).suffix.lower()
        if ending not in _READ:
            name = UNREAD_OBJECTS.get(ending, f"the format {ending or 'without an ending'}")
            self.refused[digest] = f"{path}: {name} is not read; write it as GLB, glTF, OBJ or STEP"
            return
        self.refused.pop(digest, None)  # the same file in another place
        self.found[digest] = Found(
            uid=digest,
            path=path,
            home=_repository(path),
            label=self.classes.get(PurePosixPath(path).stem) if source == "sketchfab" else None,
            name=_name(row["metadata"]) or PurePosixPath(path).stem.replace("_", " "),
            licence=licence_of(word(row["license"])),
        )

    def _lacks(self, digest: str, source: str, path: str | None) -> None:
        self.lacking += 1
        if source != "github" or path is None:
            return
        repository = _repository(path)
        for ending in _ARCHIVES:
            if self._is_inside(f"{repository}{ending}"):
                self.refused[digest] = (
                    f"{path} lies in {repository}{ending}; download it with "
                    'save_repo_format="files"'
                )

    def _is_inside(self, name: str) -> bool:
        try:
            return resolve_inside(self.root, name).is_file()
        except InputError:
            return False


def list_objaverse_xl(root: Path) -> Listing:
    """List the objects whose files are there (`ConfigError`: none is, or no annotations are)."""
    tables = {source: root / source / f"{source}.parquet" for source in SOURCES}
    there = {source: path for source, path in tables.items() if path.is_file()}
    if not there:
        raise ConfigError(
            f"no annotations of Objaverse-XL in {root}; expected "
            f"{', '.join(str(path.relative_to(root)) for path in tables.values())}"
        )
    mirror = _Mirror(root, _sketchfab_files(root), _sketchfab_classes(root))
    for source, path in there.items():
        for number, row in rows(path):
            if missing := [name for name in _COLUMNS if name not in row]:
                raise ConfigError(f"{path}: no column {', '.join(missing)}")
            try:
                mirror.add(source, row)
            except ValueError as error:
                raise ConfigError(f"{path}, row {number}: {error}") from error
    if mirror.lacking:
        logger.info("%d annotated objects are not in %s", mirror.lacking, root)
    if not mirror.found:
        raise ConfigError(
            f"none of the objects in the annotations of {root} lies there in a format that is "
            f"read ({len(mirror.refused)} in others or in archives)"
        )
    objects = sorted(mirror.found.values(), key=lambda one: one.path)
    return Listing(objects, mirror.refused, [])


def licence_of(stated: str) -> str | None:
    """Return a licence as Objaverse spells it (`by-nc-sa`, `cc0`), others in lower case.

    Each source has its own spelling: `by` (Sketchfab), `CC0` (Smithsonian), `Creative Commons -
    Attribution - Share Alike` (Thingiverse), names of software licences (GitHub).
    """
    plain = stated.strip().lower()
    if plain.startswith("cc0") or any(words in plain for words in _CC0):
        return "cc0"
    creative = _CC.fullmatch(plain)
    if creative is None:
        return plain or None
    words = re.sub(r"\b\d\.\d\b|international|licen[cs]e", "", creative[1])
    known = [short for long, short in _PARTS.items() if re.search(rf"\b{long}\b", words)]
    order = [part for part in ("by", "nc", "nd", "sa") if part in known]
    return "-".join(order) or plain


def _github(mirror: _Mirror, identifier: str) -> str | None:
    named = _GITHUB.fullmatch(identifier)
    return f"github/repos/{named[1]}/{named[2]}/{named[3]}" if named else None


def _thingiverse(mirror: _Mirror, identifier: str) -> str | None:
    named = _THING.search(identifier)
    return f"thingiverse/thing-{named[1]}-file-{named[2]}.stl" if named else None


def _smithsonian(mirror: _Mirror, identifier: str) -> str | None:
    return f"smithsonian/objects/{uuid.uuid5(uuid.NAMESPACE_DNS, identifier)}.glb"


def _sketchfab(mirror: _Mirror, identifier: str) -> str | None:
    return mirror.sketchfab.get(identifier.rpartition("/")[2])


_PATHS: dict[str, Callable[[_Mirror, str], str | None]] = {
    "github": _github,
    "thingiverse": _thingiverse,
    "smithsonian": _smithsonian,
    "sketchfab": _sketchfab,
}


def _repository(path: str) -> str:
    """Return the folder of a file of GitHub: materials and textures may lie anywhere in it."""
    parts = PurePosixPath(path).parts
    return "/".join(parts[:4]) if parts[0] == "github" else ""


def _sketchfab_files(root: Path) -> dict[str, str]:
    folder = root / _SKETCHFAB_FILES
    names = files_below(folder) if folder.is_dir() else ()
    return {PurePosixPath(name).stem: f"{_SKETCHFAB_FILES}/{name}" for name in names}


def _sketchfab_classes(root: Path) -> dict[str, str]:
    path = root / _SKETCHFAB_CLASSES
    return labels(path) if path.is_file() else {}


def _name(metadata: object) -> str:
    """Return the name in the metadata, which are an object or its JSON; empty: there is none."""
    try:
        known = caps.parse_json(metadata) if isinstance(metadata, str) and metadata else metadata
        if not isinstance(known, dict):
            return ""
        found = next(filter(None, (caption(known.get(key)) for key in _NAMES)), "")
    except ValueError:  # no JSON, or a list for a name: the object has none
        return ""
    stem, dot, ending = found.rpartition(".")
    return stem.replace("_", " ") if dot and f".{ending.lower()}" in _READ else found
