"""schemas: requests and answers, as the OpenAPI document shows them."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, PrivateAttr

# Beyond any limit of a service; they bound what is made of a body before it is checked.
MOST_ITEMS, MOST_CLASSES = 1024, 8192
Vectors = Literal["signal", "image", "text"]


class Item(BaseModel):
    """One input: a text, a file as base64, or an item of the indexed corpus."""

    model_config = ConfigDict(extra="forbid")

    modality: str = Field(max_length=100, description="one that /model lists")
    text: str | None = Field(None, description="the text, for the modality text")
    base64: str | None = Field(None, description="a file's bytes", repr=False)
    entry: str | None = Field(
        None,
        pattern=r"^[0-9a-f]{1,64}/[0-9]{1,12}$",
        description="an item's `entry`: its stored embedding is asked with",
    )
    name: str = Field("", max_length=200, description="file name; its ending states the format")
    reader_options: dict[str, bool | int | float | str] = Field(
        default_factory=dict,
        max_length=32,
        description="what the file does not state, such as {'rate_hz': 50}",
    )
    _path: Path | None = PrivateAttr(None)  # where its bytes lie; private, so no client sets it

    @property
    def path(self) -> Path | None:
        return self._path

    def lies_at(self, path: Path) -> None:
        self._path = path


class Question(BaseModel):
    """A request's body. `GROUPS` are its lists of inputs."""

    model_config = ConfigDict(extra="forbid")

    GROUPS: ClassVar[tuple[str, ...]] = ("inputs",)

    def items(self) -> list[Item]:
        return [item for group in self.GROUPS for item in getattr(self, group)]


def example(**body: JsonValue) -> ConfigDict:
    """Return a question's settings with an example for /docs."""
    return ConfigDict(extra="forbid", json_schema_extra={"examples": [body]})


TEXTS: list[dict[str, JsonValue]] = [
    {"modality": "text", "text": "a wooden chair"},
    {"modality": "text", "text": "a lamp"},
]
PICTURE: dict[str, JsonValue] = {"modality": "image", "name": "chair.png", "base64": "iVBORw0KGgo…"}


class EmbedQuestion(Question):
    """What is to be embedded."""

    model_config = example(inputs=[*TEXTS, PICTURE])

    inputs: list[Item] = Field(min_length=1, max_length=MOST_ITEMS)


class SimilarityQuestion(Question):
    """Two sets, every one of `a` to be compared with every one of `b`."""

    model_config = example(a=[TEXTS[0]], b=[TEXTS[1], PICTURE])
    GROUPS: ClassVar[tuple[str, ...]] = ("a", "b")

    a: list[Item] = Field(min_length=1, max_length=MOST_ITEMS)
    b: list[Item] = Field(min_length=1, max_length=MOST_ITEMS)


class ZeroShotQuestion(Question):
    """What is to be classified, and into what."""

    model_config = example(inputs=[PICTURE], classes=["chair", "lamp"])

    inputs: list[Item] = Field(min_length=1, max_length=MOST_ITEMS)
    classes: list[str] = Field(
        default_factory=list,
        max_length=MOST_CLASSES,
        description="names of classes; by default those of the corpus",
    )


class SearchQuestion(Question):
    """What is looked for in the indexed corpus."""

    model_config = example(inputs=[TEXTS[0]], count=5)

    inputs: list[Item] = Field(min_length=1, max_length=MOST_ITEMS)
    count: int = Field(12, ge=1, description="items per input")
    vectors: Vectors | None = Field(
        None, description="vectors to compare inputs with; by default the best kind for each"
    )


class ShapeQuestion(Question):
    """An object or a point cloud to look at."""

    model_config = example(
        inputs=[{"modality": "point_cloud", "name": "chair.ply", "base64": "cGx5Cg…"}]
    )

    inputs: list[Item] = Field(min_length=1, max_length=1)


class Version(BaseModel):
    """One registered model, or a file."""

    source: str
    name: str
    version: str


class Answer(BaseModel):
    """An answer, with the versions that gave it."""

    model: list[Version]


class Embedding(BaseModel):
    modality: str
    name: str
    embedding: list[float] = Field(description="unit norm")


class Embedded(Answer):
    embed_dim: int
    embeddings: list[Embedding]


class Similarities(Answer):
    similarities: list[list[float]] = Field(description="cosines, a row per input of `a`")


class ClassScore(BaseModel):
    name: str
    probability: float
    similarity: float


class Classified(BaseModel):
    modality: str
    name: str
    temperature: float = Field(description="divisor of the similarities")
    classes: list[ClassScore] = Field(description="most probable first")


class ZeroShot(Answer):
    results: list[Classified]


class Listed(BaseModel):
    """An item of the indexed corpus."""

    number: int
    entry: str = Field(description="with which it can be asked, as the `entry` of an input")
    key: str
    name: str
    label: str | None
    split: str
    licence: str | None
    creator: str | None
    thumbnail: str | None = Field(description="path of its picture")


class Neighbour(Listed):
    score: float = Field(description="cosine")


class Neighbours(BaseModel):
    modality: str
    name: str
    vectors: str = Field(description="kind of vectors compared with: signal, image or text")
    items: list[Neighbour]


class Search(Answer):
    results: list[Neighbours]


class Examples(Answer):
    """Some held-out items of the indexed corpus, of different classes."""

    modality: str | None = Field(description="modality of the corpus; null without an index")
    items: list[Listed]


class Health(BaseModel):
    alive: bool = True


class Ready(Answer):
    ready: bool = True
    search: str = Field(description="`ready`, or why there is no search")
    reload: str = Field(description="`current`, or why a newer version is not served")


class Described(Answer):
    """What is served."""

    modalities: list[str]
    lensed: list[str] = Field(description="modalities with a tower of their own")
    endings: dict[str, list[str]] = Field(description="endings of the files that a modality takes")
    labels: list[str] = Field(description="labels of the indexed corpus, the default classes")
    items: int = Field(description="number of items in the indexed corpus")
    corpus: str | None = Field(description="modality of the indexed corpus")
    vectors: list[str]
    search: str
    verbs: dict[str, str] = Field(
        description="`ask`, `detect` and `imagine`, where they are answered, and by what"
    )
    limits: dict[str, float]


class Mistake(BaseModel):
    """Every error's body."""

    error: str
    expected: str
