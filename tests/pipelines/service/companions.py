"""Tiny models of each kind beside a lens, and the service over them without Ray."""

from __future__ import annotations

import copy
import io
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from starlette.testclient import TestClient

from pipelines.service.app import create_app
from pipelines.service.config import CompanionSettings, Limits, ServiceConfig
from pipelines.service.engine import Engine
from pipelines.service.versions import Loaded, Models, resolve
from tests import tiny_diffusers, tiny_hf, tiny_language
from tests.tiny_models import write_lens

SCENE = np.random.default_rng(1).integers(0, 256, (40, 60, 3), dtype=np.uint8)
QUESTION = "what is it used for?"
Served = Callable[[str], TestClient]


def cloud(seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.concatenate([rng.normal(size=(50, 3)), rng.random((50, 3))], 1).astype(np.float32)


def npy(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def png(pixels: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def sent_cloud(seed: int, field: str = "point_cloud") -> tuple[str, Any]:
    return field, (f"cloud{seed}.npy", npy(cloud(seed)))


class Made:
    """Tiny models of each kind, and the service over a lens beside them."""

    def __init__(self, folder: Path, engine: Engine) -> None:
        self.folder, self.engine = folder, engine
        self.limits = engine.config.limits
        self.opened = cache(self._open)

    def settings(self, kind: str, seed: int = 0) -> tuple[CompanionSettings, str]:
        """What is named, and the spec of the foundation it fits."""
        place = self.folder / f"{kind}-{seed}"
        if kind == "unclip":
            decoder = place if place.exists() else tiny_diffusers.write_unclip(place, seed)
            statistics = self.folder / f"{kind}-{seed}.safetensors"
            named = CompanionSettings(imagine=str(decoder), statistics=str(statistics))
            return named, f"hf:{decoder / 'image_encoder'}"
        if kind in tiny_language.MODELS:
            return self._connected(kind, place, seed)
        model = str(place if place.exists() else tiny_hf.write(kind, place, seed))
        verb = "detect" if kind.startswith("owl") else "ask"
        return CompanionSettings(**{verb: model}), f"hf:{model}"

    def _connected(self, kind: str, place: Path, seed: int) -> tuple[CompanionSettings, str]:
        """A language model behind a connector, which takes embeddings of a tiny CLIP."""
        clip, connector = self.folder / f"clip-{seed}", place / "connector.safetensors"
        spec = f"hf:{clip if clip.exists() else tiny_hf.write('clip', clip, seed)}"
        if not place.exists():
            tiny_language.write_connector(connector, tiny_language.write(kind, place, seed), spec)
        return CompanionSettings(ask=str(place), connector=str(connector)), spec

    def lens(self, kind: str, seed: int = 0) -> ServiceConfig:
        named, spec = self.settings(kind, seed)
        path = write_lens(self.folder / f"lens-{kind}-{seed}", spec)
        return ServiceConfig(
            sources=(str(path),), index="none", companions=named, limits=self.limits
        )

    def _open(self, kind: str) -> Loaded:
        config = self.lens(kind)
        if kind == "unclip":
            bare = config.model_copy(update={"companions": CompanionSettings()})
            model = Models(bare).open(resolve(bare.sources)).model
            pictures = [np.asarray(picture) for picture in tiny_hf.pictures(4)]
            measured = model.image_statistics(pictures, {"point_cloud": [cloud(0), cloud(1)]})
            measured.save(Path(config.companions.statistics))
        return Models(config).open(resolve(config.sources))

    def client(self, loaded: Loaded, limits: Limits | None = None) -> TestClient:
        engine = copy.copy(self.engine)
        engine.config = engine.config.model_copy(update={"limits": limits or self.limits})
        engine.current = loaded
        return TestClient(create_app(engine), "http://127.0.0.1", raise_server_exceptions=False)
