"""inputs: checks and reads the inputs of a question; files in children (`decoding`).

Axes: H height, W width.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterable
from typing import TypeVar

import numpy as np

from pipelines.service.config import Limits
from pipelines.service.decoding import Budget, Decoders
from pipelines.service.refusal import RefusedError
from pipelines.service.schemas import Item
from vitlens_core import Model
from vitlens_core.api.encoders import Stored
from vitlens_core.api.inputs import check_options
from vitlens_core.errors import ConfigError, InputError

_UTF8_BYTES = 4  # most bytes of a character
Gathered = TypeVar("Gathered")


def check_item(model: Model, item: Item) -> None:
    """Refuse a modality that is not served, and options that its reader lacks (`RefusedError`)."""
    served = model.modalities
    if item.modality not in served:
        raise RefusedError(422, "modality", f"modality {item.modality[:40]!r}", ", ".join(served))
    try:
        check_options(item.modality, item.reader_options)
    except ConfigError as error:
        raise RefusedError(422, "body", str(error), "options of its reader") from error


class Reader:
    """Reads inputs within the limits of a service."""

    def __init__(self, decoders: Decoders, limits: Limits) -> None:
        self._decoders, self._limits = decoders, limits

    async def prepared(
        self, model: Model, number: int, item: Item, budget: Budget
    ) -> Stored | None:
        """Read an input and store it as the model's tower takes it.

        An item of the index was read and embedded when the index was made: None.

        Raises:
            RefusedError: it cannot be read, or is too long.
        """
        if item.entry is not None:
            return None
        preparation, place = model.preparation(item.modality), f"inputs {number}"
        try:
            if item.path is None:
                return preparation(item.text, {})
            if item.modality == "text":  # plain UTF-8: nothing to decode
                text = await asyncio.to_thread(_text, item, self._limits.text_characters)
                return preparation(text, {})
            prepared = await self._decoders.prepare(
                preparation, item.path, item.reader_options, budget
            )
        except InputError as error:
            raise unreadable(item, place, error) from error
        most = self._limits.frames
        if item.modality == "video" and len(prepared) > most:
            found = f"{place}: a video read as {len(prepared):,} frames"
            raise RefusedError(413, "inputs", found, f"{most:,} or fewer (reader_options.frames)")
        return prepared

    async def picture(self, item: Item, budget: Budget) -> np.ndarray:
        """Read a picture in its own size: uint8 RGB [H, W, 3]; errors as `prepared`."""
        assert item.path is not None, "an image is a file"
        try:
            return await self._decoders.picture(item.path, budget)
        except InputError as error:
            raise unreadable(item, "picture", error) from error

    async def glb(self, item: Item, budget: Budget) -> bytes:
        """Read an object or a point cloud, and write it as a GLB; errors as `prepared`."""
        assert item.path is not None, "an object is a file"
        try:
            return await self._decoders.glb(item.path, budget)
        except InputError as error:
            raise unreadable(item, "inputs 0", error) from error


def unreadable(item: Item, place: str, error: InputError) -> RefusedError:
    """Return the refusal of an input, without the path at which it lies here."""
    reason = str(error).replace(str(item.path), item.name or "the file")
    return RefusedError(422, "input", f"{place}: {reason}", expected(item))


def expected(item: Item) -> str:
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


async def gathered(awaitables: Iterable[Awaitable[Gathered]]) -> list[Gathered]:
    """Return all results in order; raise the first error after all have ended."""
    futures = [asyncio.ensure_future(awaitable) for awaitable in awaitables]
    await asyncio.gather(*futures, return_exceptions=True)
    return [future.result() for future in futures]
