"""engine: embeds the inputs of questions with the model that is current when they arrive.

Files are read in children, the inputs of all requests pass the towers in batches on one thread,
and a new version is opened beside the present one before it replaces it.
Axes: B inputs, K classes, E embedding.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from threading import Event
from typing import Any

import numpy as np
import torch

from pipelines.service.config import ServiceConfig
from pipelines.service.decoding import Budget, Decoders
from pipelines.service.metrics import Metrics
from pipelines.service.refusal import RefusedError
from pipelines.service.schemas import Item, Version
from pipelines.service.versions import Loaded, Models, is_followed
from pipelines.store.text import redacted
from vitlens_core.api.model import check_options
from vitlens_core.errors import ConfigError, InputError

LOG = logging.getLogger("vitlens.service")
_UTF8_BYTES = 4  # most bytes of a character
CURRENT = "current"


@dataclass(frozen=True)
class Work:
    """One prepared input on its way through a tower."""

    loaded: Loaded
    modality: str
    prepared: Any
    is_over: Event = field(default_factory=Event)  # nobody waits for the request's answer any more


EmbeddingOrError = np.ndarray | Exception
Batch = Callable[[Work], Awaitable[EmbeddingOrError]]


class Engine:
    """One replica's model, its decoders and its torch thread.

    Attributes:
        current: the model that new requests use.
        models: opens the versions that the sources name.
        reload: `current`, or why a newer version is not served.
    """

    def __init__(self, config: ServiceConfig, batch: Batch | None = None) -> None:
        """Open the model and start the decoders; errors: `versions.open_model`.

        Args:
            batch: gathers the inputs of several requests and passes them to `embed_all`; without
                it, each input is embedded by itself.
        """
        torch.set_num_threads(config.threads)
        self.config = config
        self.metrics = Metrics()
        self._batch = batch or self._alone
        self._torch = ThreadPoolExecutor(1, thread_name_prefix="torch")
        self._failed: tuple[tuple[Version, ...], float] | None = None
        self.reload = CURRENT
        self.models = Models(config)
        self.decoders = Decoders(config.decoders, config.limits)
        try:
            self.current = self.models.open(self.models.now())
            self.decoders.wait()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        self.decoders.close()
        self._torch.shutdown(wait=False, cancel_futures=True)

    async def embed(self, loaded: Loaded, items: Sequence[Item]) -> np.ndarray:
        """Embed items: [B, E], unit norm.

        Raises:
            RefusedError: an input cannot be read, or its modality is not served.
        """
        for item in items:
            _check(loaded, item)
        budget, is_over = self.decoders.budget(), Event()
        try:
            prepared = await _all(
                self._prepared(loaded, number, item, budget) for number, item in enumerate(items)
            )
            outcomes = await _all(
                self._batch(Work(loaded, item.modality, each, is_over))
                if item.entry is None
                else asyncio.to_thread(loaded.stored_embedding, item)
                for item, each in zip(items, prepared, strict=True)
            )
        finally:
            is_over.set()
        for outcome, item in zip(outcomes, items, strict=True):
            if isinstance(outcome, InputError):
                raise RefusedError(422, "input", str(outcome), _expected(item))
            if isinstance(outcome, Exception):
                raise outcome
        return np.stack(outcomes)

    async def embed_all(self, works: list[Work]) -> list[EmbeddingOrError]:
        """Return one outcome per work, in order; an input that fails does not affect others."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._torch, self._embed_all, works)

    async def classes(self, loaded: Loaded, modality: str, names: Sequence[str]) -> np.ndarray:
        """Embed classes with a modality's prompts: [K, E].

        Raises:
            RefusedError: no prompt can be made of a name, or there is no text tower.
        """
        loop, embeddings = asyncio.get_running_loop(), []
        for name in names:  # one by one, so that other requests can use the thread in between
            known = loaded.known_class(modality, name)
            if known is None:
                try:
                    known = await loop.run_in_executor(
                        self._torch, loaded.class_embedding, modality, name
                    )
                except ConfigError as error:
                    raise RefusedError(422, "input", str(error), "names of classes") from error
            embeddings.append(known)
        return np.stack(embeddings)

    async def follow(self) -> None:
        """Follow the sources' aliases to new versions, until cancelled."""
        while is_followed(self.config.sources):
            await asyncio.sleep(self.config.poll_s)
            await self.look()

    async def look(self) -> None:
        """Ask the registry once, and replace the model if the sources name other versions.

        Requests in progress keep their model. A failure is stated in `reload` and retried after
        `retry_s`.
        """
        try:
            versions = await asyncio.to_thread(self.models.now)
        except Exception as error:  # the registry may be down: the present model stays
            self.reload = redacted(f"the registry cannot be asked: {error}")
            LOG.warning("%s", self.reload)
            return
        if versions == self.current.versions:
            self._failed, self.reload = None, CURRENT
        elif not self._failed_just_now(versions):
            await self._swap(versions)

    async def _swap(self, versions: tuple[Version, ...]) -> None:
        names = ", ".join(f"{version.name}/{version.version}" for version in versions)
        try:
            loaded = await asyncio.to_thread(self.models.open, versions)
        except Exception as error:  # a version that fails in any way must not end the present one
            self._failed = (versions, time.monotonic())
            self.reload = redacted(f"{names} cannot be opened: {error}")
            self.metrics.reloads.labels("failed").inc()
            LOG.exception("%s stays: %s", self.current.label, self.reload)
            return
        LOG.info("%s replaces %s", names, self.current.label)
        self.current, self._failed, self.reload = loaded, None, CURRENT
        self.metrics.reloads.labels("done").inc()

    def _failed_just_now(self, versions: tuple[Version, ...]) -> bool:
        if self._failed is None or self._failed[0] != versions:
            return False
        return time.monotonic() - self._failed[1] < self.config.retry_s

    async def _prepared(self, loaded: Loaded, number: int, item: Item, budget: Budget) -> object:
        if item.entry is not None:  # it was read and embedded when the index was made
            return None
        preparation, place = loaded.model.preparation(item.modality), f"inputs {number}"
        try:
            if item.path is None:
                return preparation(item.text, {})
            if item.modality == "text":  # plain UTF-8: nothing to decode
                text = await asyncio.to_thread(_text, item, self.config.limits.text_characters)
                return preparation(text, {})
            prepared = await self.decoders.prepare(
                preparation, item.path, item.reader_options, budget
            )
        except InputError as error:
            reason = str(error).replace(str(item.path), item.name or "the file")
            raise RefusedError(422, "input", f"{place}: {reason}", _expected(item)) from error
        most = self.config.limits.frames
        if item.modality == "video" and len(prepared) > most:
            found = f"{place}: a video read as {len(prepared):,} frames"
            raise RefusedError(413, "inputs", found, f"{most:,} or fewer (reader_options.frames)")
        return prepared

    async def _alone(self, work: Work) -> EmbeddingOrError:
        return (await self.embed_all([work]))[0]

    def _embed_all(self, works: list[Work]) -> list[EmbeddingOrError]:
        groups: dict[tuple[int, str], list[int]] = {}
        for number, work in enumerate(works):
            if work.is_over.is_set():  # it timed out, or its client has gone
                continue
            groups.setdefault((id(work.loaded), work.modality), []).append(number)
        outcomes: list[EmbeddingOrError] = [RuntimeError("not embedded")] * len(works)
        for (_, modality), numbers in groups.items():
            self.metrics.batch_size.labels(modality).observe(len(numbers))
            of_group = _embedded([works[number] for number in numbers])
            for number, outcome in zip(numbers, of_group, strict=True):
                outcomes[number] = outcome
        return outcomes


def _embedded(works: list[Work]) -> list[EmbeddingOrError]:
    """Embed works of one model and modality in one batch, or one by one if the batch fails."""
    try:
        first = works[0]
        embedded = first.loaded.model.embed(first.modality, [w.prepared for w in works]).numpy()
        if not np.isfinite(embedded).all():
            raise InputError("its embedding is not finite")
        return list(embedded)
    except Exception as error:
        if len(works) == 1:
            return [error]
        return [_embedded([work])[0] for work in works]


def _check(loaded: Loaded, item: Item) -> None:
    served = loaded.model.modalities
    if item.modality not in served:
        raise RefusedError(422, "modality", f"modality {item.modality[:40]!r}", ", ".join(served))
    try:
        check_options(item.modality, item.reader_options)
    except ConfigError as error:
        raise RefusedError(422, "body", str(error), "options of its reader") from error


def _expected(item: Item) -> str:
    return f"an input that can be read as {item.modality.replace('_', ' ')}"


def _text(item: Item, most: int) -> str:
    """Read the text of a file, within a limit: the tokenizer would take hours for a long text."""
    assert item.path is not None
    if item.path.stat().st_size > _UTF8_BYTES * most:
        raise RefusedError(413, "inputs", "a text file that is too long", f"{most:,} characters")
    try:
        text = item.path.read_text(encoding="utf-8").strip()
    except UnicodeDecodeError as error:
        raise InputError(f"{item.path} is not UTF-8 text: {error}") from error
    if len(text) > most:
        raise RefusedError(413, "inputs", f"{len(text):,} characters", f"{most:,} or fewer")
    return text


async def _all(coroutines: Any) -> list[Any]:
    """Return all results in order; raise the first error after all have ended."""
    results = await asyncio.gather(*coroutines, return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException) and not isinstance(result, InputError):
            raise result
    return results
