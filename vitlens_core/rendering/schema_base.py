"""What every type of the glTF schema is made of: bounds of numbers, and objects with extensions."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat
from pydantic.alias_generators import to_camel

# With these bounds, sums and products of sizes stay within an int64.
Index = Annotated[int, Field(ge=0, lt=2**32)]
Size = Annotated[int, Field(ge=0, lt=2**48)]
Vec2 = tuple[FiniteFloat, FiniteFloat]
Vec3 = tuple[FiniteFloat, FiniteFloat, FiniteFloat]
Vec4 = tuple[FiniteFloat, FiniteFloat, FiniteFloat, FiniteFloat]


class Gltf(BaseModel):
    """An object of a document; fields that are not declared are ignored."""

    model_config = ConfigDict(alias_generator=to_camel, frozen=True)


class Extensions(Gltf):
    """Extensions of an object: those that are read are fields, the names of others are kept."""

    model_config = ConfigDict(extra="allow")

    @property
    def unread(self) -> list[str]:
        """Names of the extensions that are there and not read, sorted."""
        return sorted(self.model_extra or {})
