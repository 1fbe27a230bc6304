"""tables: Markdown tables, and what a settings class says of its fields."""

from __future__ import annotations

import inspect
import json
import re
import types
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from vitlens_core.kinds import OneOf

_BOUNDS = {"ge": "≥\u00a0{}", "gt": ">\u00a0{}", "le": "≤\u00a0{}", "lt": "<\u00a0{}"}
_LENGTHS = {"min_length": "{} or more", "max_length": "{} at most"}


@dataclass(frozen=True)
class Setting:
    """One field of a settings class, in words."""

    path: str
    type: str
    default: str
    bounds: str
    description: str


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table; `|` in a cell is escaped."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(map(_cell, line))} |" for line in lines) + "\n"


def settings_table(
    model: type[BaseModel], prefix: str = "", without: Iterable[str] = (), anchor: str = ""
) -> str:
    """The fields of a model that are no sections of their own, each with an anchor.

    Args:
        anchor: begins the anchors, where a page has several models of one prefix.
    """
    rows = [
        (
            f'<span id="{anchor}{setting.path}"></span>`{setting.path}`',
            setting.default,
            ", ".join(filter(None, (setting.type, setting.bounds))),
            setting.description,
        )
        for setting in settings(model, prefix)
        if setting.path.removeprefix(prefix) not in set(without)
    ]
    shown = table(("setting", "default", "takes", "what it is"), rows)
    return f'<div class="settings" markdown>\n\n{shown}\n</div>\n'


def settings(model: type[BaseModel], prefix: str = "") -> Iterator[Setting]:
    """The fields of a model that are no sections of their own."""
    for name, field in model.model_fields.items():
        one_of = OneOf.of(field)
        if one_of or section_in(field.annotation) is None:
            yield Setting(
                prefix + name,
                kinds_name(one_of, field) if one_of else type_name(field.annotation),
                default(field),
                bounds(field),
                sentence(field.description or ""),
            )


def sections(model: type[BaseModel]) -> dict[str, type[BaseModel]]:
    """Name → model of the fields that are sections of their own."""
    fields = {name: field for name, field in model.model_fields.items() if not OneOf.of(field)}
    found = {name: section_in(field.annotation) for name, field in fields.items()}
    return {name: section for name, section in found.items() if section}


def section_in(annotation: Any) -> type[BaseModel] | None:
    """The one settings class that a field holds; None of values and of unions of classes."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    if get_origin(annotation) in (Union, types.UnionType):
        found = [section_in(arg) for arg in get_args(annotation) if arg is not type(None)]
        return found[0] if len(found) == 1 else None
    return None


def kinds_name(one_of: OneOf, field: FieldInfo) -> str:
    """The kinds that a field takes, as people name them."""
    named = " or ".join(f"`{kind}`" for kind in one_of.names())
    is_list = get_origin(field.annotation) is tuple
    return f"{'list of ' if is_list else ''}{named}, or settings with a `kind`"


def type_name(annotation: Any) -> str:
    """A type as people write its values."""
    if get_origin(annotation) is Annotated:
        return type_name(get_args(annotation)[0])
    args, origin = get_args(annotation), get_origin(annotation)
    if origin in (Union, types.UnionType):
        return " or ".join(type_name(arg) for arg in args)
    if origin is Literal:
        return " or ".join(f"`{value}`" for value in args)
    if origin is tuple:
        kinds = list(dict.fromkeys(type_name(arg) for arg in args if arg is not Ellipsis))
        return f"list of {' and '.join(kinds)}" if Ellipsis in args else f"[{', '.join(kinds)}]"
    if origin is dict:
        return f"{type_name(args[0])} → {type_name(args[1])}"
    if origin is list:
        return f"list of {type_name(args[0])}"
    names = {type(None): "null", bool: "true or false", str: "text", int: "int", float: "number"}
    return names.get(annotation, getattr(annotation, "__name__", str(annotation)))


def default(field: FieldInfo) -> str:
    """What holds where nothing is set."""
    if field.is_required():
        return "*needed*"
    if field.default_factory is not None:
        # A default that depends on the machine would differ from one build to the next.
        return "" if field.default_factory in (dict, list) else "*of the machine*"
    value = field.default
    if OneOf.of(field) and value:
        return f"`{value.kind if isinstance(value, BaseModel) else [one.kind for one in value]}`"
    if isinstance(value, float) and not isinstance(value, bool):
        return f"`{value:.4g}`"
    return f"`{value or json.dumps(value)}`" if isinstance(value, str) else f"`{json.dumps(value)}`"


def bounds(field: FieldInfo) -> str:
    """What a value must keep to."""
    said = []
    for item in field.metadata:
        for names in (_BOUNDS, _LENGTHS):
            for name, words in names.items():
                if (limit := getattr(item, name, None)) is not None:
                    said.append(words.format(f"{limit:g}"))
        if pattern := getattr(item, "pattern", None):
            said.append(f"`{pattern}`")
    return ", ".join(said)


def first_paragraph(thing: Any) -> str:
    """The first paragraph of a docstring, on one line."""
    return " ".join((inspect.getdoc(thing) or "").split("\n\n")[0].split())


def described_attributes(thing: Any) -> dict[str, str]:
    """What a docstring's section `Attributes:` says of each name; `a, b: …` is of both."""
    _, _, said = (inspect.getdoc(thing) or "").partition("Attributes:\n")
    found: dict[str, str] = {}
    for entry in re.split(r"\n(?=    \S)", said):
        names, _, words = " ".join(entry.split()).partition(": ")
        found |= {name: sentence(words) for name in names.split(", ") if words}
    return found


def sentence(text: str) -> str:
    """With a capital and without a full stop at its end."""
    return text[:1].upper() + text[1:].rstrip(".") if text and not text.startswith("`") else text


def _cell(text: str) -> str:
    return " ".join(str(text).split()).replace("|", "\\|")
