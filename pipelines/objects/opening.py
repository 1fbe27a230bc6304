"""opening: opens the mirrors of a run: Objaverse's layout anywhere, or folders of any objects."""

from __future__ import annotations

from pathlib import Path

from pipelines.objects.folder import FolderMirror
from pipelines.objects.mirror import LAYOUT_FOLDER, OBJECT_PATHS, Mirror, is_remote, open_mirror
from pipelines.objects.objaverse_xl import SOURCES as XL_SOURCES
from pipelines.objects.step import Layout, MirrorSettings, ObjectsConfig
from pipelines.objects.transfer import FetchPolicy
from pipelines.store.artifacts import digest
from vitlens_core.errors import ConfigError
from vitlens_core.sandbox import Limits

AnyMirror = Mirror | FolderMirror
# The list by which the folder of a data set is known.
_MARKS: dict[str, Layout] = {
    "taxonomy.json": "shapenet",
    "3dmodels/metadata/3dmodels.csv.gz": "abo",
    "model_info.json": "3d-future",
    **dict.fromkeys((f"{source}/{source}.parquet" for source in XL_SOURCES), "objaverse-xl"),
}


def open_mirrors(
    config: ObjectsConfig, cache_dir: Path | None = None, policy: FetchPolicy | None = None
) -> dict[str, AnyMirror]:
    """Open every mirror of a run by its name.

    Raises:
        ConfigError: there is no such mirror, it has another layout, or holds no objects.
        TransientError: a server answers but does not deliver at present.
    """
    limits = Limits(time_s=config.read_s, memory_mb=config.read_mb)
    return {
        name: _opened(settings, limits, cache_dir, policy)
        for name, settings in config.mirrors().items()
    }


def any_remote(config: ObjectsConfig) -> bool:
    """Whether a mirror of a run is remote, judged by the addresses alone."""
    return any(is_remote(settings.mirror) for settings in config.mirrors().values())


def state_of_mirrors(config: ObjectsConfig) -> str:
    """Return a digest of the present state of a run's mirrors and of tables about their objects.

    Errors as `open_mirrors`; a table that is missing is a state too.
    """
    states = {f"mirror {name}": mirror.state() for name, mirror in open_mirrors(config).items()}
    named = [table.path for table in config.captions.values()]
    for path in filter(None, [*named, config.names_dropped]):
        states[path] = _state_of_file(Path(path).expanduser())
    return digest(states)


def _state_of_file(path: Path) -> str:
    try:
        status = path.stat()
    except OSError as error:
        return type(error).__name__
    return f"{status.st_size} {status.st_mtime_ns}"


def _opened(
    settings: MirrorSettings, limits: Limits, cache_dir: Path | None, policy: FetchPolicy | None
) -> AnyMirror:
    root = _root(settings)
    layout = layout_of(settings)
    settings = settings.model_copy(update={"layout": layout})
    if layout == "objaverse":
        _refuse_folder_settings(settings)
        return open_mirror(settings.mirror, cache_dir, policy)
    if not root.is_dir():
        raise ConfigError(
            f"objects.mirror: no folder {root}; the layout {layout} is read from a local folder"
        )
    mirror = FolderMirror(root, settings, limits)
    _ = mirror.listing  # a mistake shows before any work
    return mirror


def layout_of(settings: MirrorSettings) -> Layout:
    """Tell the layout of a mirror: the stated one, or by what lies in the folder."""
    root = _root(settings)
    if settings.layout != "auto":
        return settings.layout
    if not root.is_dir() or (root / LAYOUT_FOLDER).is_dir() or (root / OBJECT_PATHS).is_file():
        return "objaverse"
    # As a folder of any objects, ShapeNet would have numbers for classes.
    return next((layout for mark, layout in _MARKS.items() if (root / mark).is_file()), "folder")


def holds_objaverse(settings: MirrorSettings) -> bool:
    """Whether a mirror may hold objects of Objaverse; the shipped ones are others."""
    return settings.mirror != "embedded" and layout_of(settings) in ("objaverse", "objaverse-xl")


def _root(settings: MirrorSettings) -> Path:
    return Path(settings.mirror).expanduser().absolute()


def _refuse_folder_settings(settings: MirrorSettings) -> None:
    own = settings.model_fields_set - {"mirror", "layout"}
    defaults = MirrorSettings()
    stated = sorted(name for name in own if getattr(settings, name) != getattr(defaults, name))
    if stated:
        raise ConfigError(
            f"objects.{stated[0]} is for a folder of objects; {settings.mirror!r} has Objaverse's "
            "layout, which states it"
        )
