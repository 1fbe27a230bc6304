"""companions: the question model, detector and decoder that are opened beside a lens.

Promises  a model that does not fit the lens is refused before it is loaded, and before a request
          is taken; a new version of the lens is served only if they fit it too.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Event

import torch
from torch import nn

from pipelines.service.config import WINDOWS, CompanionSettings
from vitlens_core import Model
from vitlens_core.errors import ConfigError
from vitlens_core.extras import require
from vitlens_core.plugins import ask, detect
from vitlens_core.plugins.ask.base import QuestionModel
from vitlens_core.plugins.ask.connected import check_foundation, check_language_model
from vitlens_core.plugins.ask.connector import ConnectorInfo, load_connector
from vitlens_core.plugins.ask.language import check_kind, open_language_model
from vitlens_core.plugins.detect.owl import OwlDetector
from vitlens_core.plugins.fit import check_source
from vitlens_core.plugins.imagine import Decoder, ImageStatistics
from vitlens_core.plugins.imagine.table import check_fit, kind_of


class StoppedError(Exception):
    """Nobody waits for the answer any more."""


@dataclass(frozen=True)
class Companions:
    """What is opened beside a lens.

    Attributes:
        question_model: answers questions; without one, zero-shot classification does.
        detector: finds queries in a picture; `windows` looks through windows of it.
        decoder: draws, with the foundation's `statistics`; without one, the index is searched.
    """

    question_model: QuestionModel | None = None
    detector: OwlDetector | str | None = None
    decoder: Decoder | None = None
    statistics: ImageStatistics | None = None


def check_kinds(settings: CompanionSettings) -> None:
    """Check within seconds that what is named exists and is of the right kind.

    Raises:
        ConfigError: it is not, an extra is not installed, or a further file is missing.
    """
    if settings.connector:
        _check_connector_kind(settings)
    elif settings.ask:
        ask.kind_of(settings.ask)
    if settings.detect not in ("", WINDOWS):
        detect.kind_of(settings.detect)
    if settings.imagine:
        require("diffusers", "imagine", "a decoder")
        kind_of(settings.imagine)
        if not Path(settings.statistics).is_file():
            raise ConfigError(
                f"--statistics {settings.statistics}: no such file. `vitlens imagine … --by "
                f"{settings.imagine} --among PICTURES` measures it once"
            )
    further = [n for n in ("encoder", "adapter", "statistics") if getattr(settings, n)]
    if further and not settings.imagine:
        raise ConfigError(f"--{further[0]} belongs to a decoder: name it, --imagine MODEL")


def _check_connector_kind(settings: CompanionSettings) -> ConnectorInfo:
    if not settings.ask:
        raise ConfigError("--connector stands before a language model: name it, --ask MODEL")
    check_kind(settings.ask)
    return load_connector(Path(settings.connector))[1]


def check_connector(settings: CompanionSettings) -> None:
    """Compare a connector with its language model, which is opened for it and let go.

    Raises:
        ConfigError: as `check_kinds`.
        CheckpointError: the connector was trained for another language model.
    """
    if settings.connector:
        info = _check_connector_kind(settings)
        check_language_model(info, open_language_model(settings.ask), settings.connector)


def check(settings: CompanionSettings, model: Model) -> None:
    """Compare what is named with a model's trunks; vision towers alone are loaded for it.

    Raises:
        ConfigError: as `check_kinds`, or no trunk of ours sees the model's images.
        CheckpointError: a lens was trained into another tower, or a connector on another
            foundation.
    """
    check_kinds(settings)
    if settings.detect == WINDOWS and "image" not in model.modalities:
        raise ConfigError(f"--detect {WINDOWS}: a model of {model.modalities[0]} sees no pictures")
    if settings.connector:
        check_foundation(_check_connector_kind(settings), model.foundation)
    for source in ("" if settings.connector else settings.ask, settings.detect):
        if source not in ("", WINDOWS):
            model.token_source("image")  # towers of other makers cannot be compared
            for name in model.token_modalities:
                check_source(model.token_source(name).trunk, source, f"the model's {name}")
    if settings.imagine:
        image = model.token_source("image")
        check_fit(settings.imagine, image.spec, image.trunk, settings.encoder or None)
        ImageStatistics.load(Path(settings.statistics), image.trunk)


def open_companions(settings: CompanionSettings, model: Model) -> Companions:
    """Open what is named, beside a model.

    Raises:
        ConfigError, CheckpointError: as `check`, or weights that do not fit their config.
    """
    check(settings, model)
    detector: OwlDetector | str | None = settings.detect or None
    if detector not in (None, WINDOWS):
        detector = detect.open_detector(settings.detect)
    decoder = statistics = None
    if settings.imagine:
        decoder = model.decoder(
            settings.imagine, encoder=settings.encoder or None, adapter=settings.adapter or None
        )
        trunk = model.token_source("image").trunk
        statistics = ImageStatistics.load(Path(settings.statistics), trunk)
    asked = None
    if settings.ask:
        asked = ask.open_question_model(settings.ask, connector=settings.connector or None)
    return Companions(asked, detector, decoder, statistics)


@contextmanager
def stopping(module: nn.Module, is_over: Event) -> Generator[None]:
    """Raise StoppedError in the next pass of `module` once nobody waits: a thread cannot be ended.

    Args:
        module: one that is called at every token or every step.
    """

    def look(_: nn.Module, given: tuple[torch.Tensor, ...]) -> None:
        if is_over.is_set():
            raise StoppedError

    handle = module.register_forward_pre_hook(look)
    try:
        yield
    finally:
        handle.remove()
