"""uploads: reads a request's body as a question, and writes its files to a folder.

JSON carries files as base64. The fields of a form are named after modalities (they hold files, or
the text itself), with the prefix `a.` or `b.` for /similarity, or after the question's settings.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import re
import shutil
from pathlib import Path
from typing import Any, TypeVar

import ijson
from pydantic import ValidationError
from starlette.datastructures import FormData, UploadFile
from starlette.requests import Request

from pipelines.service.config import Limits
from pipelines.service.refusal import RefusedError
from pipelines.service.schemas import Item, Question
from vitlens_core import caps, modalities

_ENDING = re.compile(r"\.[a-z0-9]{1,8}")
_JSON, _FORM = "application/json", "multipart/form-data"
_VALUES_PER_INPUT, _MORE_VALUES = 80, 1000  # in JSON: keys, values, ends of lists
_BLOCK = 1 << 20
READER_OPTIONS = 'JSON by modality, as {"imu": {"rate_hz": 50}}'
_SHOWN = 3  # most mistakes of a body that a message lists
Asked = TypeVar("Asked", bound=Question)


async def read(request: Request, kind: type[Asked], limits: Limits, folder: Path) -> Asked:
    """Read the question of a request; its files are written into `folder`.

    Raises:
        RefusedError: another content type, an invalid body, or too many inputs.
    """
    content = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if content == _JSON:
        body = await request.body()
        return await asyncio.to_thread(lambda: _from_json(body, kind, limits, folder))
    if content == _FORM:
        async with request.form(max_files=limits.inputs, max_fields=limits.classes + 8) as form:
            return await asyncio.to_thread(lambda: _from_form(form, kind, limits, folder))
    raise RefusedError(415, "type", f"content type {content or 'none'}", f"{_JSON} or {_FORM}")


def _from_json(body: bytes, kind: type[Asked], limits: Limits, folder: Path) -> Asked:
    _check_values(body, limits)
    question = _valid(kind, body)
    _check(question, limits)
    for number, item in enumerate(question.items()):
        if item.base64 is not None:
            try:
                data = base64.b64decode(item.base64, validate=True)
            except (binascii.Error, ValueError) as error:
                raise RefusedError(422, "body", f"inputs {number}: {error}", "base64") from error
            path = _path(folder, number, item)
            path.write_bytes(data)
            item.lies_at(path)
    return question


def _check_values(body: bytes, limits: Limits) -> None:
    """Refuse JSON of more values than any question has, before it is made into objects.

    A million small inputs are 40 MB of JSON, and took 1.2 GB as objects.
    """
    most = _VALUES_PER_INPUT * limits.inputs + limits.classes + _MORE_VALUES
    try:
        # use_float: without it, a number of 5,000 digits ends this process in ijson's C code.
        events = ijson.basic_parse(body, buf_size=_BLOCK, use_float=True)
        for number, _ in enumerate(events):
            if number > most:
                raise RefusedError(413, "inputs", "a body of too many values", f"{most:,} or fewer")
    except (ijson.JSONError, ValueError):
        return  # the parser that follows says what is wrong


def _from_form(form: FormData, kind: type[Asked], limits: Limits, folder: Path) -> Asked:
    body: dict[str, Any] = {group: [] for group in kind.GROUPS}
    files: dict[str, list[UploadFile | None]] = {group: [] for group in kind.GROUPS}
    reader_options: dict[str, object] = {}
    for field, value in form.multi_items():
        group, _, modality = field.rpartition(".")
        group = group or kind.GROUPS[0]
        if field == "reader_options":
            reader_options = _reader_options(value)
        elif modality in modalities.names() and group in body:
            is_file = isinstance(value, UploadFile)
            given = {"name": (value.filename or "")[-200:]} if is_file else {"text": value}
            body[group].append({"modality": modality, **given})
            files[group].append(value if is_file else None)
        else:
            _set(body, field, value, kind)
    for item in (item for group in kind.GROUPS for item in body[group]):
        item["reader_options"] = reader_options.get(item["modality"], {})
    question = _valid(kind, body)
    _check(question, limits, are_files=True)
    uploads = [file for group in kind.GROUPS for file in files[group]]
    for number, (item, upload) in enumerate(zip(question.items(), uploads, strict=True)):
        if upload is not None:
            path = _path(folder, number, item)
            with path.open("wb") as file:
                shutil.copyfileobj(upload.file, file)
            item.lies_at(path)
    return question


def _set(body: dict[str, Any], field: str, value: object, kind: type[Question]) -> None:
    """Set a setting of the question; each value of a list is a field of its own."""
    settings = kind.model_fields.keys() - set(kind.GROUPS)
    if field not in settings or isinstance(value, UploadFile):
        groups = f", prefixed by {' or '.join(kind.GROUPS)}" if len(kind.GROUPS) > 1 else ""
        known = [*modalities.names(), "reader_options", *sorted(settings)]
        raise RefusedError(422, "body", f"form field {field[:40]!r}", ", ".join(known) + groups)
    if kind.model_fields[field].default_factory is list:
        body.setdefault(field, []).append(value)
    else:
        body[field] = value


def _reader_options(value: Any) -> dict[str, Any]:
    expected = READER_OPTIONS
    try:
        reader_options = caps.parse_json(value)
    except (TypeError, ValueError) as error:
        raise RefusedError(422, "body", f"field reader_options: {error}", expected) from error
    if not isinstance(reader_options, dict):
        raise RefusedError(
            422, "body", f"field reader_options: {type(reader_options).__name__}", expected
        )
    return reader_options


def _valid(kind: type[Asked], body: bytes | dict[str, object]) -> Asked:
    try:
        if isinstance(body, bytes):
            return kind.model_validate_json(body)
        return kind.model_validate(body)
    except ValidationError as error:
        details = error.errors(include_url=False, include_input=False, include_context=False)
        lines = [f"{'.'.join(map(str, e['loc'])) or 'body'}: {e['msg']}" for e in details[:_SHOWN]]
        fields = ", ".join(kind.model_fields)
        raise RefusedError(422, "body", "; ".join(lines), f"JSON or a form of {fields}") from error


def _check(question: Question, limits: Limits, *, are_files: bool = False) -> None:
    """Refuse too many inputs, and inputs with two contents or none."""
    items = question.items()
    if len(items) > limits.inputs:
        raise RefusedError(413, "inputs", f"{len(items)} inputs", f"{limits.inputs} or fewer")
    for number, item in enumerate(items):
        given = sum(content is not None for content in (item.text, item.base64, item.entry))
        if given > 1 or (given == 0 and not are_files):
            expected = "text, base64 or entry"
            raise RefusedError(422, "body", f"inputs {number}: {given} contents", expected)
        if item.entry is not None and item.reader_options:
            found = f"inputs {number}: reader_options for an item of the corpus"
            raise RefusedError(422, "body", found, "no reader_options: nothing is read")
        if item.text is not None and item.modality != "text":
            raise RefusedError(
                422, "body", f"inputs {number}: a text as {item.modality}", "a file (base64)"
            )
        if len(item.text or "") > limits.text_characters:
            raise RefusedError(
                413,
                "inputs",
                f"inputs {number}: {len(item.text or ''):,} characters",
                f"{limits.text_characters:,} or fewer",
            )


def _path(folder: Path, number: int, item: Item) -> Path:
    """Return the path for an input's file; it takes only a plain ending from the client's name."""
    ending = Path(item.name).suffix.lower()
    return folder / f"{number}{ending if _ENDING.fullmatch(ending) else ''}"
