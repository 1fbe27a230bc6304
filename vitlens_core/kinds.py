"""Settings of which there are several kinds, each a module of one package, found by its name.

    Loss = Annotated[LossConfig, OneOf(LossConfig, "loss", "vitlens_core.losses")]

    loss: {kind: sigmoid, initial_bias: -5}      settings of the module `sigmoid`
    loss: sigmoid                                the same module with its defaults

A new kind is a new module with one subclass of the base, whose `kind` is the module's name. Only
the module that is named is imported. Nothing is registered anywhere: Ray workers import by name
too.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterable, Mapping
from typing import Any, Generic, TypeVar, get_args

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticCustomError, core_schema

from vitlens_core.errors import ConfigError, unknown

Kind = TypeVar("Kind", bound=BaseModel)
_BASE = "base"  # what all kinds of a package share


class OneOf(Generic[Kind]):
    """Annotation of a field that takes the settings of any kind.

    Attributes:
        base: what all kinds are subclasses of.
        noun: what a kind is called in messages.
        package: whose modules are the kinds; `base` and names with an underscore are not.
        default: the kind of settings that state none.
    """

    def __init__(
        self, base: type[Kind], noun: str, package: str, default: str | None = None
    ) -> None:
        self.base, self.noun, self.package, self.default = base, noun, package, default

    def names(self) -> list[str]:
        """The kinds there are."""
        path = importlib.import_module(self.package).__path__
        found = (module.name for module in pkgutil.iter_modules(path))
        return sorted(name for name in found if name != _BASE and not name.startswith("_"))

    def load(self, kind: str) -> type[Kind]:
        """The settings of a kind.

        Raises:
            ConfigError: there is no such module (the message lists those there are), or it does
                not define one subclass of the base under its own name.
        """
        if kind not in self.names():
            raise ConfigError(unknown(self.noun, kind, self.names()))
        name = f"{self.package}.{kind}"
        module = importlib.import_module(name)
        found = [
            value
            for value in vars(module).values()
            if isinstance(value, type)
            and issubclass(value, self.base)
            and value.__module__ == name
            and value.model_fields["kind"].default == kind
        ]
        if len(found) != 1:
            raise ConfigError(
                f"{name}: expected one subclass of {self.base.__name__} whose `kind` is "
                f"{kind!r}, found {len(found)}"
            )
        return found[0]

    def chosen(self, value: Any) -> type[Kind] | None:
        """The settings that `value` is checked by; None if it names no kind there is."""
        kind = self._kind(value)
        return self.load(kind) if kind in self.names() else None

    @staticmethod
    def of(field: FieldInfo) -> OneOf | None:
        """The kinds that a field takes, alone or within a mapping or list."""
        return _first([*field.metadata, *get_args(field.annotation)])

    def _kind(self, value: Any) -> str | None:
        if isinstance(value, str):
            return value
        kind = value.get("kind", self.default) if isinstance(value, Mapping) else None
        return None if kind is None else str(kind)

    def _check(self, value: Any) -> Kind:
        if isinstance(value, self.base):
            return value
        if not isinstance(value, str | Mapping):
            raise PydanticCustomError("model_type", "Input should be a section with a kind")
        kind = self._kind(value)
        if kind not in self.names():
            missing = f"missing; there are: {', '.join(self.names())}"
            said = missing if kind is None else unknown(self.noun, kind, self.names())
            raise PydanticCustomError("unknown_kind", "{message}", {"message": said})
        settings = {} if isinstance(value, str) else {**value, "kind": kind}
        return self.load(kind).model_validate(settings)

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> core_schema.CoreSchema:
        return core_schema.no_info_plain_validator_function(
            self._check,
            # As what it is, not as its base: else the settings of the kind would be left out.
            serialization=core_schema.simple_ser_schema("any"),
        )


def _first(found: Iterable[Any]) -> OneOf | None:
    for item in found:
        if isinstance(item, OneOf):
            return item
        if one_of := _first(get_args(item)):
            return one_of
    return None
