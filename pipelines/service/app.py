"""app: the routes. Knows no Ray."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import TypeVar

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, JSONResponse, Response
from fastapi_offline import FastAPIOffline
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp

from pipelines.service import (
    answers,
    asking,
    detecting,
    imagining,
    metrics,
    pages,
    streaming,
    verbs,
)
from pipelines.service.documents import body
from pipelines.service.engine import Engine
from pipelines.service.guard import ANSWERED_BY, Guard, answer
from pipelines.service.refusal import RefusedError
from pipelines.service.schemas import (
    Described,
    Embedded,
    EmbedQuestion,
    Examples,
    Health,
    Mistake,
    Question,
    Ready,
    Search,
    SearchQuestion,
    ShapeQuestion,
    Similarities,
    SimilarityQuestion,
    ZeroShot,
    ZeroShotQuestion,
)
from pipelines.service.uploads import read
from pipelines.service.verb_schemas import (
    Asked,
    AskQuestion,
    Detected,
    DetectQuestion,
    Imagined,
    ImagineQuestion,
)
from pipelines.service.versions import Loaded
from vitlens_core.scratch import Scratch

LOG = logging.getLogger("vitlens.service")
_STATUSES = (400, 401, 403, 408, 413, 415, 422, 429, 503)
_MISTAKES: dict[int | str, dict[str, object]] = {status: {"model": Mistake} for status in _STATUSES}
GLB_TYPE = "model/gltf-binary"
_NO_OTHER_TYPE = {"x-content-type-options": "nosniff"}  # browsers take it for nothing else
Given = TypeVar("Given", bound=Question)
Answered = TypeVar("Answered")


def create_app(engine: Engine) -> ASGIApp:
    """Build the service over an engine; the engine is closed with it."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncGenerator[None]:
        following = asyncio.create_task(engine.follow())
        try:
            yield
        finally:
            following.cancel()
            engine.close()

    app = FastAPIOffline(  # its page of the interface loads nothing from other sites
        title="vitlens",
        description="object modality in one space.",
        version="1",
        lifespan=lifespan,
        redoc_url=None,
    )
    _questions(app, engine)
    _verbs(app, engine)
    _state(app, engine)
    _pages(app)
    _errors(app, engine)
    return Guard(app, engine.config, engine.metrics, lambda: engine.current.label)


async def _answered(
    engine: Engine,
    request: Request,
    kind: type[Given],
    work: Callable[[Engine, Loaded, Given], Awaitable[Answered]],
) -> Answered:
    """Read the question, answer it within the time limit, and remove its files."""
    limits = engine.config.limits
    with Scratch("request") as folder:
        question = await read(request, kind, limits, Path(folder))
        loaded = engine.current  # for the whole request, also if a new version replaces it
        request.scope[ANSWERED_BY] = loaded.label
        try:
            async with asyncio.timeout(limits.request_s):
                return await work(engine, loaded, question)
        except TimeoutError:
            limit = f"{limits.request_s:g} s"
            raise RefusedError(503, "time", f"no answer within {limit}", "fewer inputs") from None


def _questions(app: FastAPI, engine: Engine) -> None:
    answered = partial(_answered, engine)

    @app.post("/embed", responses=_MISTAKES, openapi_extra=body(EmbedQuestion))
    async def embed(request: Request) -> Embedded:
        """Embeddings of files and texts, of any modality that /model lists."""
        return await answered(request, EmbedQuestion, answers.embedded)

    @app.post("/similarity", responses=_MISTAKES, openapi_extra=body(SimilarityQuestion))
    async def similarity(request: Request) -> Similarities:
        """Cosines of every input of `a` with every input of `b`."""
        return await answered(request, SimilarityQuestion, answers.similarities)

    @app.post("/zero_shot", responses=_MISTAKES, openapi_extra=body(ZeroShotQuestion))
    async def zero_shot(request: Request) -> ZeroShot:
        """Calibrated probabilities of classes that are given by name only."""
        return await answered(request, ZeroShotQuestion, answers.zero_shot)

    drawn: dict[str, object] = {"content": {GLB_TYPE: {}}}

    @app.post(
        "/shape",
        response_class=Response,
        responses=_MISTAKES | {200: drawn},
        openapi_extra=body(ShapeQuestion),
    )
    async def shape(request: Request) -> Response:
        """An object or a point cloud of any format, as a GLB that browsers can show."""
        glb = await answered(request, ShapeQuestion, answers.shape)
        return Response(glb, media_type=GLB_TYPE, headers=_NO_OTHER_TYPE)

    @app.post("/search", responses=_MISTAKES, openapi_extra=body(SearchQuestion))
    async def search(request: Request) -> Search:
        """The items of the indexed corpus that are nearest to each input."""
        return await answered(request, SearchQuestion, answers.search)


def _verbs(app: FastAPI, engine: Engine) -> None:
    answered = partial(_answered, engine)
    refusals = _MISTAKES | {404: {"model": Mistake}}

    said: dict[str, object] = {"model": Asked, "content": {streaming.EVENTS: {}}}

    @app.post(
        "/ask",
        response_model=None,
        responses=refusals | {200: said},
        openapi_extra=body(AskQuestion),
    )
    async def ask(request: Request) -> Asked | Response:
        """Answers to a question about inputs; without a question model, the nearest of answers.

        A client that accepts `text/event-stream` gets the words as they come.
        """
        if not streaming.is_wanted(request):
            return await answered(request, AskQuestion, asking.asked)
        return await streaming.streamed(
            lambda told: answered(request, AskQuestion, partial(asking.asked, told=told)),
            partial(_told_of, engine, request),
        )

    @app.post("/detect", responses=refusals, openapi_extra=body(DetectQuestion))
    async def detect(request: Request) -> Detected:
        """Boxes in a picture around what queries of any modality mean."""
        return await answered(request, DetectQuestion, detecting.detected)

    drawn: dict[str, object] = {"model": Imagined, "content": {"image/png": {}}}

    @app.post(
        "/imagine",
        response_model=None,
        responses=refusals | {200: drawn},
        openapi_extra=body(ImagineQuestion),
    )
    async def imagine(request: Request) -> Response:
        """A picture of what the inputs mean; without a decoder, the nearest of the index."""
        found = await answered(request, ImagineQuestion, imagining.imagined)
        if isinstance(found, Imagined):
            return JSONResponse(found.model_dump())
        return Response(found, media_type="image/png", headers=_NO_OTHER_TYPE)


def _state(app: FastAPI, engine: Engine) -> None:
    @app.get("/health")
    async def health() -> Health:
        """Whether the process answers."""
        return Health()

    @app.get("/ready")
    async def ready() -> Ready:
        """The version that answers, whether it can search, and why a newer one is not served."""
        now = engine.current
        return Ready(model=list(now.versions), search=now.search, reload=engine.reload)

    @app.get("/model")
    async def model() -> Described:
        """What is served."""
        return answers.described(engine, verbs.offered(engine.current))

    @app.get("/examples")
    async def examples() -> Examples:
        """Some held-out items of the indexed corpus, to ask with."""
        return await answers.examples(engine.current)

    @app.get("/metrics", response_class=Response)
    async def counts() -> Response:
        """All counters, in Prometheus's text format."""
        return Response(engine.metrics.text(), media_type=metrics.CONTENT_TYPE)

    @app.get(
        "/thumbnails/{index}/{number}", response_class=Response, responses={404: {"model": Mistake}}
    )
    async def thumbnail(index: str, number: int) -> Response:
        """The picture of an item of the corpus, by the path that a search gave."""
        picture = await answers.thumbnail(engine.current, index, number)
        return Response(picture, media_type="image/webp", headers=_NO_OTHER_TYPE)


def _pages(app: FastAPI) -> None:
    def page(path: str, file: Path) -> Callable[[], Awaitable[FileResponse]]:
        async def served() -> FileResponse:
            return FileResponse(file, headers=pages.headers(path))

        return served

    for path, file in pages.FILES.items():
        app.get(path, include_in_schema=False)(page(path, file))


def _errors(app: FastAPI, engine: Engine) -> None:
    @app.exception_handler(RefusedError)
    async def refused(request: Request, refusal: RefusedError) -> JSONResponse:
        return _told_of(engine, request, refusal)

    @app.exception_handler(HTTPException)
    async def http(request: Request, error: HTTPException) -> JSONResponse:
        expected = {404: "a route of /openapi.json", 405: "its method"}.get(
            error.status_code, "a request as /openapi.json describes it"
        )
        found = f"{request.method} {request.url.path[:80]}: {error.detail}"
        return answer(RefusedError(error.status_code, "http", found, expected), engine.metrics)

    @app.exception_handler(RequestValidationError)
    async def invalid(_: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        found = f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
        return answer(RefusedError(422, "body", found, "see /openapi.json"), engine.metrics)

    @app.exception_handler(Exception)
    async def failed(request: Request, error: Exception) -> JSONResponse:
        return _told_of(engine, request, error)


def _told_of(engine: Engine, request: Request, error: Exception) -> JSONResponse:
    """Return the answer where a request is refused, or fails, which is logged; it is counted."""
    if not isinstance(error, RefusedError):
        LOG.error("%s %s failed", request.method, request.url.path, exc_info=error)
        kind = type(error).__name__
        error = RefusedError(500, "fault", f"an internal error: {kind}", "see log")
    return answer(error, engine.metrics)
