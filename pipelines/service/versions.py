"""versions: resolves the sources to versions, and opens a model with its index.

Reads     the registry, model folders or files, and the index made with the lens.
Promises  a model never uses an index of another lens; if a version cannot be opened, the present
          one stays.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from upath import UPath

import vitlens_core
from pipelines.foundation.step import SCHEME
from pipelines.index.catalogue import Catalogue
from pipelines.index.step import STEP
from pipelines.registry import lineage, models
from pipelines.service.companions import Companions, check, open_companions
from pipelines.service.config import ServiceConfig
from pipelines.service.refusal import RefusedError
from pipelines.service.schemas import Item, Version
from pipelines.store.artifact_store import Store
from pipelines.store.artifacts import MANIFEST, Artifact, load
from pipelines.store.files import opened_place
from pipelines.store.home import Home
from pipelines.store.text import redacted
from vitlens_core import Model
from vitlens_core.api.classes import class_embeddings, knows_classes
from vitlens_core.errors import ConfigError, IntegrityError

LOG = logging.getLogger("vitlens.service")
AUTO, NONE = "auto", "none"
READY = "ready"
_FILE = "file"  # stands for the version of a file or folder, which has none
_MOST_CLASSES = 20_000  # class embeddings in memory; clients choose the names


def resolve(sources: Sequence[str]) -> tuple[Version, ...]:
    """Return the versions that the sources name now.

    Raises:
        ConfigError: no such model, version, alias or file.
    """
    return tuple(_resolved(source) for source in sources)


def _resolved(source: str) -> Version:
    if source.startswith(SCHEME):
        registered = models.find(source)
        return Version(source=source, name=registered.name, version=str(registered.version))
    if not Path(source).exists():
        raise ConfigError(
            f"{source}: no such file or folder; expected one, or models:/<name>@<alias>"
        )
    return Version(source=source, name=Path(source).name, version=_FILE)


def is_followed(sources: Sequence[str]) -> bool:
    """Whether a source may name another version later."""
    return any(source.startswith(SCHEME) and "@" in source for source in sources)


def find_index(config: ServiceConfig, versions: Sequence[Version]) -> Artifact | str:
    """Return the index of the versions' lens, or why there is none.

    Raises:
        ConfigError: the folder that `--index` names is no index.
    """
    if config.index == NONE:
        return "switched off (--index none)"
    lenses = {
        lineage.fingerprints(Home.from_environment().root, models.find(_exact(version))).get(
            "lens"
        ): version
        for version in versions
        if version.version != _FILE
    }
    if config.index != AUTO:
        return _asked_for(opened_place(config.index, "--index"), lenses)
    if not lenses:
        return f"{versions[0].name} is a file; name its index with --index FOLDER"
    store = Store(opened_place(config.store, "VITLENS_STORE"))
    indexes = [a for a in store.artifacts() if a.manifest.step == STEP.name]
    fitting = [a for a in indexes if a.manifest.inputs["lens"] in lenses]
    if fitting:
        return max(fitting, key=lambda a: (a.manifest.version, a.manifest.counts["samples"]))
    names = ", ".join(f"{v.name} version {v.version}" for v in lenses.values())
    return f"no index of {names} in {redacted(config.store)}: `vitlens run` makes one"


def _asked_for(folder: UPath, lenses: dict[str | None, Version]) -> Artifact | str:
    if not (folder / MANIFEST).exists():
        raise ConfigError(f"no index at {folder}; expected the folder of a finished index")
    artifact = load(folder)
    if artifact.manifest.step != STEP.name:
        raise ConfigError(f"{folder} is no index but an artifact of {artifact.manifest.step}")
    if lenses and artifact.manifest.inputs["lens"] not in lenses:
        names = ", ".join(f"{v.name} version {v.version}" for v in lenses.values())
        return f"the index at {folder} was made with another lens than {names}"
    return artifact


def open_model(config: ServiceConfig, versions: tuple[Version, ...]) -> Loaded:
    """Open the model of exactly these versions with its index, and embed the corpus's classes.

    Raises:
        ConfigError: a version or index no longer exists.
        CheckpointError: the weights do not fit.
        IntegrityError: the index that `--index` names is damaged.
    """
    model = vitlens_core.load(*map(_exact, versions))
    index = find_index(config, versions)
    catalogue, search = _opened(config, index)
    loaded = Loaded(model, versions, catalogue, search)
    if catalogue and knows_classes(model):
        for name in catalogue.labels:
            loaded.class_embedding(model.modalities[0], name)
    return loaded


def _opened(config: ServiceConfig, index: Artifact | str) -> tuple[Catalogue | None, str]:
    """Open an index; one that was not asked for and is damaged is passed over and named."""
    if not isinstance(index, Artifact):
        return None, index
    try:
        return Catalogue(index), READY
    except IntegrityError as error:
        if config.index != AUTO:
            raise
        LOG.warning("there is no search: %s", error)
        return None, redacted(f"its index is damaged: {error}")


def _exact(version: Version) -> str:
    """Return a source that names this version, also if its alias moves meanwhile."""
    if version.version == _FILE:
        return version.source
    return f"{SCHEME}{version.name}/{version.version}"


@dataclass
class Models:
    """The models of a service: what its sources name now, and how a version is opened."""

    config: ServiceConfig
    companions: Companions | None = None  # opened with the first version, kept for all

    def now(self) -> tuple[Version, ...]:
        """Errors: `resolve`."""
        return resolve(self.config.sources)

    def open(self, versions: tuple[Version, ...]) -> Loaded:
        """Open a version, or refuse one that the companions do not fit.

        Raises:
            VitlensError: as `open_model` and `open_companions`.
        """
        loaded, settings = open_model(self.config, versions), self.config.companions
        if self.companions is None:
            self.companions = open_companions(settings, loaded.model)
        else:
            check(settings, loaded.model)
        return replace(loaded, companions=self.companions)


@dataclass(frozen=True)
class Loaded:
    """A model in memory with its versions and its index; a request keeps it to its end.

    Attributes:
        search: `ready`, or why there is no index.
        companions: what is opened beside it.
    """

    model: Model
    versions: tuple[Version, ...]
    catalogue: Catalogue | None
    search: str
    companions: Companions = field(default_factory=Companions)
    _classes: dict[tuple[str, str], np.ndarray] = field(default_factory=dict)

    @property
    def label(self) -> str:
        return ", ".join(f"{version.name}/{version.version}" for version in self.versions)

    def stored_embedding(self, item: Item) -> np.ndarray:
        """Return the lens's embedding of the index's item that `item.entry` names, [E].

        Raises:
            RefusedError: another index is open, or it has no such item or embedding.
        """
        name, _, number = str(item.entry).partition("/")
        catalogue, vector = self.catalogue, None
        if catalogue and (name, item.modality) == (catalogue.name, catalogue.modality):
            with suppress(IndexError):
                vector = catalogue.vector(int(number))
        if vector is None:
            found = f"no {item.modality} {item.entry} in the index that is open now"
            raise RefusedError(404, "search", found, "the `entry` of an item of its modality")
        return vector

    def known_class(self, modality: str, name: str) -> np.ndarray | None:
        return self._classes.get((modality, name))

    def class_embedding(self, modality: str, name: str) -> np.ndarray:
        """Embed a class, [E]; computed once.

        Raises:
            ConfigError: the name has no letter, or nothing stands for the class.
        """
        embedding = self.known_class(modality, name)
        if embedding is None:
            embedding = class_embeddings(self.model, [name], modality)[0].numpy()
            if len(self._classes) < _MOST_CLASSES:
                self._classes[modality, name] = embedding
        return embedding
