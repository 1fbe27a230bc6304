"""streaming: sends the words of an answer as server-sent events, as they come.

    event: words     {"answer": 0, "text": "a chair"}   more words of one answer
    event: answer    what the route gives otherwise     once, the last event
    event: error     {"error": …, "expected": …}        instead, if it is refused on the way

Promises  what is refused before its first words is refused as everywhere, with its status; the
          work ends when the client goes.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import suppress

from fastapi import Request
from fastapi.responses import Response, StreamingResponse
from pydantic import BaseModel
from starlette.types import Receive, Scope, Send

EVENTS = "text/event-stream"
# Also for proxies that keep an answer until it is whole.
_HEADERS = {"cache-control": "no-store", "x-accel-buffering": "no"}


def is_wanted(request: Request) -> bool:
    """Whether a client takes events."""
    accepted = request.headers.get("accept", "").split(",")
    return EVENTS in [one.partition(";")[0].strip().lower() for one in accepted]


async def streamed(
    work: Callable[[Callable[[int, str], None]], Awaitable[BaseModel]],
    failed: Callable[[Exception], Response],
) -> Response:
    """Do `work`, which tells its words from any thread, and send them.

    Args:
        failed: makes the answer where `work` fails after its first words.

    Raises:
        RefusedError: from `work`, before its first words.
    """
    words: asyncio.Queue[tuple[int, str] | None] = asyncio.Queue()
    loop = asyncio.get_running_loop()

    def tell(number: int, text: str) -> None:
        with suppress(RuntimeError):  # the loop is closed: nobody listens any more
            loop.call_soon_threadsafe(words.put_nowait, (number, text))

    task = asyncio.ensure_future(work(tell))
    task.add_done_callback(lambda _: words.put_nowait(None))
    try:
        first = await words.get()
    except asyncio.CancelledError:
        task.cancel()
        raise
    if first is None:
        await task  # raises what it was refused for, before the answer has begun
    return _Events(task, _events(first, words, task, failed))


class _Events(StreamingResponse):
    """Ends its task with itself, also where the client goes before the first event."""

    def __init__(self, task: asyncio.Future[BaseModel], events: AsyncGenerator[bytes]) -> None:
        super().__init__(events, 200, _HEADERS, EVENTS)
        self._task = task

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._task.cancel()


async def _events(
    first: tuple[int, str] | None,
    words: asyncio.Queue[tuple[int, str] | None],
    task: asyncio.Future[BaseModel],
    failed: Callable[[Exception], Response],
) -> AsyncGenerator[bytes]:
    told = first
    while told is not None:
        number, text = told
        yield _event("words", json.dumps({"answer": number, "text": text}).encode())
        told = await words.get()
    try:
        answer = await task
    except Exception as error:  # the status is sent: it can only be told as an event
        yield _event("error", bytes(failed(error).body))
    else:
        yield _event("answer", answer.model_dump_json().encode())


def _event(name: str, data: bytes) -> bytes:
    return b"event: " + name.encode() + b"\ndata: " + data + b"\n\n"
