"""layouts: where the objects of a folder lie, and what its data set states of them.

Reads     names of files and folders; the lists of ShapeNet, ABO and 3D-FUTURE.
Promises  no object is opened, and the order does not depend on the file system.

    folder      any folder of objects; the first folder below it is the class
    shapenet    ShapeNetCore: <synset>/<model>/models/model_normalized.obj (version 2) or
                <synset>/<model>/model.obj (version 1), and taxonomy.json
    abo         Amazon Berkeley Objects: 3dmodels/original/…/<model>.glb,
                3dmodels/metadata/3dmodels.csv.gz, listings/metadata/listings_*.json.gz
    3d-future   3D-FUTURE: <model>/raw_model.obj and model_info.json
    kicad       KiCad's parts, `kicad`
    objaverse-xl    what the `objaverse` package downloads, `objaverse_xl`
"""

from __future__ import annotations

import gzip
import logging
import os
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from pipelines.objects.fetched import size_of_file
from pipelines.store.keys import own_key, plain_key
from pipelines.store.tables import rows
from pipelines.store.words import caption, word
from vitlens_core import caps
from vitlens_core.confinement import resolve_inside
from vitlens_core.errors import ConfigError, InputError, TransientError
from vitlens_core.readers.formats import OBJECTS, UNREAD_OBJECTS, endings, names

logger = logging.getLogger(__name__)

# Of one object in several formats the first of these is taken: what states most comes first.
_PREFERRED = (".glb", ".gltf", ".step", ".stp", ".dae", ".obj", ".ply", ".3mf", ".off", ".stl")
_READ = frozenset(endings(OBJECTS))
# Materials, textures and buffers: a change of theirs changes the objects that use them.
_BESIDE = frozenset(
    (".mtl", ".bin", ".png", ".jpg", ".jpeg", ".webp", ".tga", ".bmp", ".gif", ".tif", ".tiff")
)
_SHAPENET_PLACES = ("models/model_normalized.obj", "model.obj")
_ABO_TEXTS = ("bullet_point", "item_keywords", "material", "style", "color")


@dataclass(frozen=True)
class Found:
    """An object of a folder, by its files and what its data set states.

    Attributes:
        path: its file, relative to the folder, with `/`.
        home: folder of all its files, relative too; "": the one it lies in.
    """

    uid: str
    path: str
    home: str = ""
    label: str | None = None
    name: str = ""
    tags: tuple[str, ...] = ()
    captions: tuple[str, ...] = ()
    licence: str | None = None


@dataclass(frozen=True)
class Listing:
    """The objects of a folder, those of unread formats by uid with a reason, and other files.

    Attributes:
        beside: names and sizes of materials, textures and buffers.
    """

    objects: list[Found]
    refused: dict[str, str]
    beside: list[tuple[str, int]]


def list_folder(root: Path, *, folder_classes: bool) -> Listing:
    """List any folder of objects.

    Raises:
        ConfigError: no file in it is an object.
        TransientError: a folder cannot be listed.
    """
    by_stem: dict[str, list[str]] = defaultdict(list)
    unread: dict[str, tuple[str, str]] = {}
    beside = []
    for path in files_below(root):
        stem, ending = os.path.splitext(path)
        ending = ending.lower()
        if ending in _READ:
            by_stem[stem].append(path)
        elif ending in UNREAD_OBJECTS:
            unread[stem] = path, UNREAD_OBJECTS[ending]
        elif ending in _BESIDE:
            beside.append((path, size_of_file(f"{root}/{path}") or 0))
    if not by_stem:
        raise ConfigError(
            f"no objects in {root}: expected files of {names(OBJECTS)}, found "
            f"{', '.join(sorted({name for _, name in unread.values()})) or 'none of any 3D format'}"
        )
    uids = _uids({**by_stem, **unread})
    objects = [
        Found(uids[stem], _preferred(paths), label=_class_of(stem) if folder_classes else None)
        for stem, paths in by_stem.items()
    ]
    # The same object in a format that is read stands for it.
    refused = {
        uids[stem]: f"{path}: {name} is not read; write it as GLB, glTF, OBJ or STEP"
        for stem, (path, name) in unread.items()
        if stem not in by_stem
    }
    if doubled := [paths for paths in by_stem.values() if len(paths) > 1]:
        logger.warning(
            "%d objects lie there in several formats, such as %s; the first of each is read",
            len(doubled),
            ", ".join(sorted(doubled[0], key=_rank)),
        )
    return Listing(objects, refused, beside)


def list_shapenet(root: Path) -> Listing:
    """List ShapeNetCore; labels are the first words of its synsets (errors: `list_folder`)."""
    taxonomy = _json_list(root / "taxonomy.json")
    words = {str(one.get("synsetId")): str(one.get("name", "")).split(",") for one in taxonomy}
    objects = []
    for synset in _folders(root):
        named = [name.strip() for name in words.get(synset, []) if name.strip()]
        for model in _folders(f"{root}/{synset}"):
            home = f"{synset}/{model}"
            place = next((p for p in _SHAPENET_PLACES if _is_there(root, f"{home}/{p}")), None)
            if place is None:
                continue
            objects.append(
                Found(
                    uid=plain_key(f"{synset}-{model}"),
                    path=f"{home}/{place}",
                    home=home,
                    label=named[0] if named else None,
                    tags=tuple(named[1:]),
                    licence="shapenet",
                )
            )
    return _listing(root, objects, "ShapeNetCore: <synset>/<model>/models/model_normalized.obj")


def list_abo(root: Path) -> Listing:
    """List Amazon Berkeley Objects; labels are product types (errors: `list_folder`)."""
    places = {
        word(row.get("3dmodel_id")): word(row.get("path"))
        for _, row in rows(root / "3dmodels" / "metadata" / "3dmodels.csv.gz")
    }
    objects = []
    for product in _products(root):
        model = word(product.get("3dmodel_id"))
        path = places.pop(model, "") if model else ""
        if not path or not _is_there(root, f"3dmodels/original/{path}"):
            continue
        kinds = [word(one.get("value")) for one in _objects(product.get("product_type"))]
        found = _english(product.get("item_name"))
        objects.append(
            Found(
                uid=plain_key(model),
                path=f"3dmodels/original/{path}",
                label=kinds[0].replace("_", " ").lower() if kinds and kinds[0] else None,
                name=found[0] if found else "",
                captions=tuple(
                    dict.fromkeys(
                        text for name in _ABO_TEXTS[:1] for text in _english(product.get(name))
                    )
                ),
                tags=tuple(
                    dict.fromkeys(
                        text for name in _ABO_TEXTS[1:] for text in _english(product.get(name))
                    )
                ),
                licence="by-nc",
            )
        )
    return _listing(root, objects, "ABO: 3dmodels/original/…/<model>.glb")


def list_3d_future(root: Path) -> Listing:
    """List 3D-FUTURE; labels are its categories (errors: `list_folder`)."""
    objects = []
    for model in _json_list(root / "model_info.json"):
        uid = word(model.get("model_id"))
        if not uid or not _is_there(root, f"{uid}/raw_model.obj"):
            continue
        said = (word(model.get(name)) for name in ("style", "theme", "material", "super-category"))
        objects.append(
            Found(
                uid=plain_key(uid),
                path=f"{uid}/raw_model.obj",
                label=word(model.get("category")).replace(" / ", " or ").lower() or None,
                tags=tuple(text for text in said if text),
                licence="3d-future",
            )
        )
    return _listing(root, objects, "3D-FUTURE: <model>/raw_model.obj")


def _listing(root: Path, objects: list[Found], expected: str) -> Listing:
    if not objects:
        raise ConfigError(f"no objects in {root}; expected {expected}")
    return Listing(sorted(objects, key=lambda one: one.path), {}, [])


def files_below(root: Path) -> Iterator[str]:
    """Yield every file below a folder by its path with `/`, in order; links are not followed."""

    def refuse(error: OSError) -> None:
        raise TransientError(f"{error.filename}: {error.strerror}") from error

    for place, folders, files in os.walk(root, onerror=refuse):
        folders.sort()
        inside = PurePosixPath(os.path.relpath(place, root))
        for name in sorted(files):
            yield str(inside / name)


def _is_there(root: Path, name: str) -> bool:
    """Whether a list names a file of the folder (`ConfigError`: one outside)."""
    try:
        return resolve_inside(root, name).is_file()
    except InputError as error:
        raise ConfigError(f"a list of the data set names {error}") from error


def _folders(root: Path | str) -> list[str]:
    return sorted(entry.name for entry in os.scandir(root) if entry.is_dir())


def _rank(path: str) -> int:
    return _PREFERRED.index(ending) if (ending := Path(path).suffix.lower()) in _PREFERRED else 99


def _preferred(paths: Iterable[str]) -> str:
    return min(paths, key=lambda path: (_rank(path), path))


def _class_of(stem: str) -> str | None:
    parts = PurePosixPath(stem).parts
    return parts[0].replace("_", " ").strip() if len(parts) > 1 else None


def _uids(stems: Iterable[str]) -> dict[str, str]:
    """Return a uid for every name; names that look alike as keys are told apart."""
    plain = {stem: plain_key(stem) for stem in stems}
    count: dict[str, int] = defaultdict(int)
    for key in plain.values():
        count[key] += 1
    return {stem: key if count[key] == 1 else own_key(key, stem) for stem, key in plain.items()}


def _json_list(path: Path) -> list[dict[str, object]]:
    return [dict(row) for _, row in rows(path)]


def _products(root: Path) -> Iterator[dict[str, object]]:
    """Yield the listings of ABO, a JSON object per line."""
    files = sorted((root / "listings" / "metadata").glob("listings_*.json.gz"))
    if not files:
        raise ConfigError(f"no listings/metadata/listings_*.json.gz in {root}, the lists of ABO")
    for path in files:
        try:
            with caps.Gunzipped(path) as file:
                for line in file.readall().splitlines():
                    yield caps.parse_json(line)
        except (gzip.BadGzipFile, EOFError, ValueError) as error:
            raise ConfigError(f"{path}: expected a JSON object per line: {error}") from error


def _english(values: object) -> list[str]:
    """Return the values of an attribute in English, or without a language."""
    english = [
        one for one in _objects(values) if str(one.get("language_tag", "en")).startswith("en")
    ]
    return [text for one in english if (text := caption(one.get("value")))]


def _objects(values: object) -> list[dict[str, object]]:
    """Return the JSON objects of a list; none of anything else."""
    return [one for one in values if isinstance(one, dict)] if isinstance(values, list) else []
