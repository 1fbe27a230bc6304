"""verb_schemas: requests and answers of /ask, /detect and /imagine."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import BaseModel, Field

from pipelines.service.schemas import (
    MOST_CLASSES,
    MOST_ITEMS,
    PICTURE,
    TEXTS,
    Answer,
    Item,
    Neighbour,
    Question,
    example,
)

_MOST_WEIGHT = 100.0
_MOST_SEED = 2**63 - 1
Weight = Annotated[float, Field(ge=-_MOST_WEIGHT, le=_MOST_WEIGHT, allow_inf_nan=False)]


class AskQuestion(Question):
    """A question about each input, or about all of them together."""

    model_config = example(inputs=[PICTURE], question="What is it used for?")

    inputs: list[Item] = Field(min_length=1, max_length=MOST_ITEMS)
    question: str = Field(min_length=1, description="in words")
    answers: list[str] = Field(
        default_factory=list,
        max_length=MOST_CLASSES,
        description="what to choose among without a question model; by default the corpus's "
        "classes",
    )
    together: bool = Field(False, description="all inputs, one of each modality, are one question")
    max_tokens: int = Field(40, ge=1, description="tokens of an answer")


class Said(BaseModel):
    modality: str = Field(description="of inputs that belong together, that of the first")
    name: str
    text: str
    probability: float | None = Field(
        description="of a choice among answers, calibrated; a question model states none"
    )


class Asked(Answer):
    by: str = Field(description="the question model; `zero-shot`: the nearest of the answers")
    answers: list[Said]


class DetectQuestion(Question):
    """What is looked for in a picture."""

    model_config = example(picture=[PICTURE], queries=[TEXTS[1]])
    GROUPS: ClassVar[tuple[str, ...]] = ("picture", "queries")

    picture: list[Item] = Field(min_length=1, max_length=1, description="one image")
    queries: list[Item] = Field(min_length=1, max_length=MOST_ITEMS)
    count: int = Field(1, ge=1, description="boxes of a query at most")
    least: float | None = Field(
        None, ge=-1, le=1, allow_inf_nan=False, description="the lowest score that counts"
    )


class Box(BaseModel):
    query: int = Field(description="number of the query, from 0")
    modality: str
    name: str = Field(description="file name of the query, or its words")
    score: float = Field(description="a detector's probability, or the cosine of a window")
    box: list[float] = Field(description="left, top, right, bottom in pixels of the picture")


class Detected(Answer):
    by: str = Field(description="the detector, or `windows`")
    width: int = Field(description="of the picture, turned as its camera says [pixels]")
    height: int
    boxes: list[Box] = Field(description="best first")


class ImagineQuestion(Question):
    """What is to be drawn: one picture of all inputs, one of each modality."""

    model_config = example(inputs=[TEXTS[0], PICTURE], weights=[1.0, 0.5])

    inputs: list[Item] = Field(min_length=1, max_length=MOST_ITEMS)
    weights: list[Weight] = Field(
        default_factory=list,
        max_length=MOST_ITEMS,
        description="one for each input, of either sign; by default all 1",
    )
    seed: int = Field(0, ge=0, le=_MOST_SEED, description="of the noise that drawing begins with")
    steps: int = Field(25, ge=1, description="of drawing")
    count: int = Field(5, ge=1, description="items found, where the index answers")


class Imagined(Answer):
    """Without a decoder: the items of the index whose pictures are nearest."""

    by: str = Field("retrieval", description="what answered")
    items: list[Neighbour]
