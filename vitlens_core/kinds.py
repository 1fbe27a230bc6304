"""Settings that have several kinds, each a module of one package that is found by its name.

    Loss = Annotated[LossConfig, OneOf(LossConfig, "loss", "vitlens_core.losses")]

    loss: {kind: sigmoid, initial_bias: -5}      settings of the module `sigmoid`
    loss: sigmoid                                the same module with its defaults

A new kind is a new module with one subclass of the base, whose `kind` is the module's name. Only
the named module is imported. There is no registry, so that Ray workers find the same kinds.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterable, Mapping
from typing import Generic, TypeVar, get_args

from pydantic import BaseModel, GetCoreSchemaHandler
from pydantic.fields import FieldInfo
from pydantic_core import PydanticCustomError, core_schema

from vitlens_core.errors import ConfigError, unknown

Kind = TypeVar("Kind", bound=BaseModel)
_BASE = "base"  # the module that the kinds of a package share, which is no kind


class OneOf(Generic[Kind]):
    """Annotation of a field that takes the settings of any kind.

    Attributes:
        base: the class that all kinds are subclasses of.
        noun: the word for a kind in messages.
        package: its modules are the kinds, except `base` and names that begin with an underscore.
        default: the kind of settings that do not state one.
    """

    def __init__(
        self, base: type[Kind], noun: str, package: str, default: str | None = None
    ) -> None:
        self.base, self.noun, self.package, self.default = base, noun, package, default

    def names(self) -> list[str]:
        """List the kinds that exist."""
        path = importlib.import_module(self.package).__path__
        modules = (module.name for module in pkgutil.iter_modules(path))
        return sorted(name for name in modules if name != _BASE and not name.startswith("_"))

    def load(self, kind: str) -> type[Kind]:
        """Import the settings class of a kind.

        Raises:
            ConfigError: there is no such module (the message lists the kinds), or it does not
                define exactly one subclass of the base with its own name as `kind`.
        """
        if kind not in self.names():
            raise ConfigError(unknown(self.noun, kind, self.names()))
        name = f"{self.package}.{kind}"
        module = importlib.import_module(name)
        # Classes that the module only imports, its base among them, are of other modules.
        classes = [
            value
            for value in vars(module).values()
            if isinstance(value, type)
            and issubclass(value, self.base)
            and value.__module__ == name
            and value.model_fields["kind"].default == kind
        ]
        if len(classes) != 1:
            raise ConfigError(
                f"{name}: expected one subclass of {self.base.__name__} whose `kind` is "
                f"{kind!r}, found {len(classes)}"
            )
        return classes[0]

    def chosen(self, value: object) -> type[Kind] | None:
        """Return the settings class that checks `value`; None if it names no existing kind."""
        kind = self._kind(value)
        return self.load(kind) if kind in self.names() else None

    @staticmethod
    def of(field: FieldInfo) -> OneOf | None:
        """Return the kinds that a field takes, alone or in a mapping or a list."""
        return _first([*field.metadata, *get_args(field.annotation)])

    def _kind(self, value: object) -> str | None:
        if isinstance(value, str):
            return value
        kind = value.get("kind", self.default) if isinstance(value, Mapping) else None
        return None if kind is None else str(kind)

    def _check(self, value: object) -> Kind:
        if isinstance(value, self.base):
            return value
        if not isinstance(value, str | Mapping):
            raise PydanticCustomError("model_type", "Input should be a section with a kind")
        kind = self._kind(value)
        if kind not in self.names():
            missing = f"missing; there are: {', '.join(self.names())}"
            message = missing if kind is None else unknown(self.noun, kind, self.names())
            # As a parameter, since braces in a name would be read as placeholders.
            raise PydanticCustomError("unknown_kind", "{message}", {"message": message})
        settings = {} if isinstance(value, str) else {**value, "kind": kind}
        return self.load(kind).model_validate(settings)

    def __get_pydantic_core_schema__(
        self, source: object, handler: GetCoreSchemaHandler
    ) -> core_schema.CoreSchema:
        return core_schema.no_info_plain_validator_function(
            self._check,
            # By its own class: serialised as its base, it would lose the settings of the kind.
            serialization=core_schema.simple_ser_schema("any"),
        )


def _first(annotations: Iterable[object]) -> OneOf | None:
    """Find the first `OneOf` among annotations and their arguments."""
    for item in annotations:
        if isinstance(item, OneOf):
            return item
        if one_of := _first(get_args(item)):
            return one_of
    return None
