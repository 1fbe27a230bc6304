"""engine: embeds the inputs of questions with the model that is current when they arrive.

Files are read in children, the inputs of all requests pass the towers in batches on one thread,
question model, detector and decoder work on another, and a new version is opened beside the
present one before it replaces it.
Axes: B inputs, K classes, E embedding.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from threading import Event
from typing import TypeVar

import numpy as np
import torch

from pipelines.service.config import ServiceConfig
from pipelines.service.decoding import Budget, Decoders
from pipelines.service.inputs import Reader, check_item, expected, gathered
from pipelines.service.metrics import Metrics
from pipelines.service.refusal import RefusedError
from pipelines.service.schemas import Item, Version
from pipelines.service.versions import Loaded, Models, is_followed
from pipelines.store.text import redacted
from vitlens_core.api.encoders import Stored
from vitlens_core.errors import ConfigError, InputError

LOG = logging.getLogger("vitlens.service")
CURRENT = "current"


@dataclass(frozen=True)
class Work:
    """One prepared input on its way through a tower."""

    loaded: Loaded
    modality: str
    prepared: Stored
    is_over: Event = field(default_factory=Event)  # nobody waits for the request's answer any more


Result = TypeVar("Result")
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
        self._companions = ThreadPoolExecutor(1, thread_name_prefix="companions")
        self._failed: tuple[tuple[Version, ...], float] | None = None
        self.reload = CURRENT
        self.models = Models(config)
        self.decoders = Decoders(config.decoders, config.limits)
        self.reader = Reader(self.decoders, config.limits)
        try:
            self.current = self.models.open(self.models.now())
            self.decoders.wait()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        self.decoders.close()
        for thread in (self._torch, self._companions):
            thread.shutdown(wait=False, cancel_futures=True)

    async def prepared(
        self, loaded: Loaded, items: Sequence[Item], budget: Budget | None = None
    ) -> list[Stored | None]:
        """Read items and store them as towers take them; None for items of the index.

        Args:
            budget: that of the request, if it has further files.

        Raises:
            RefusedError: an input cannot be read, or its modality is not served.
        """
        for item in items:
            check_item(loaded.model, item)
        shared = budget or self.decoders.budget()
        return await gathered(
            self.reader.prepared(loaded.model, number, item, shared)
            for number, item in enumerate(items)
        )

    async def embed(
        self, loaded: Loaded, items: Sequence[Item], budget: Budget | None = None
    ) -> np.ndarray:
        """Embed items: [B, E], unit norm; arguments and errors as `prepared`."""
        prepared, is_over = await self.prepared(loaded, items, budget), Event()
        try:
            outcomes = await gathered(
                self._outcome(loaded, item, each, is_over)
                for item, each in zip(items, prepared, strict=True)
            )
        finally:
            is_over.set()
        vectors = []
        for outcome, item in zip(outcomes, items, strict=True):
            if isinstance(outcome, InputError):
                raise RefusedError(422, "input", str(outcome), expected(item))
            if isinstance(outcome, Exception):
                raise outcome
            vectors.append(outcome)
        return np.stack(vectors)

    async def embed_all(self, works: list[Work]) -> list[EmbeddingOrError]:
        """Return one outcome per work, in order; an input that fails does not affect others."""
        return await self.on_towers(partial(self._embed_all, works))

    async def on_towers(self, work: Callable[[], Result]) -> Result:
        """Call `work` on the thread that embeds."""
        return await asyncio.get_running_loop().run_in_executor(self._torch, work)

    async def on_companions(self, work: Callable[[Event], Result]) -> Result:
        """Call `work` on the thread of question model, detector and decoder.

        Embedding goes on beside it. `work` ends soon after its argument is set: nobody waits.
        """
        is_over, loop = Event(), asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(self._companions, work, is_over)
        finally:
            is_over.set()

    async def classes(self, loaded: Loaded, modality: str, names: Sequence[str]) -> np.ndarray:
        """Embed classes with a modality's prompts: [K, E].

        Raises:
            RefusedError: no prompt can be made of a name, or nothing stands for a class.
        """
        embeddings = []
        for name in names:  # one by one, so that other requests can use the thread in between
            known = loaded.known_class(modality, name)
            if known is None:
                try:
                    known = await self.on_towers(partial(loaded.class_embedding, modality, name))
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

    async def _outcome(
        self, loaded: Loaded, item: Item, prepared: Stored | None, is_over: Event
    ) -> EmbeddingOrError:
        if prepared is None:
            return await asyncio.to_thread(loaded.stored_embedding, item)
        return await self._batch(Work(loaded, item.modality, prepared, is_over))

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
