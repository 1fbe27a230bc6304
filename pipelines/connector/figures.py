"""figures: the types of what is stated of a connector, and its table for people.

training.json   TrainingRecord, in the artifact
figures.json    ConnectorFigures, beside the connector that is handed out and in the run's report
"""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from pipelines.evaluation.presenter import FigureTable, Row, words
from vitlens_core.intervals import Interval

TRAINING_FILE, FIGURES_FILE = "training.json", "figures.json"


class SeedRecord(BaseModel):
    """How the connector of one seed was chosen."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    seed: int
    file: str = Field(description="in the artifact")
    step: int = Field(description="after which it was taken; 0 is the regression alone")
    naming: dict[int, float] = Field(
        description="share of validation objects named, by step: mean of those by image and by "
        "caption"
    )

    @property
    def best(self) -> float:
        return self.naming[self.step]


class TrainingRecord(BaseModel):
    """The connectors of all seeds."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    ridge: float = Field(description="strength of the regression that they begin with")
    seeds: tuple[SeedRecord, ...]

    @property
    def chosen(self) -> SeedRecord:
        """The seed that names most validation objects; of equal ones the first."""
        return max(self.seeds, key=lambda record: record.best)


class InputFigures(BaseModel):
    """Naming by one kind of input: shares of held-out samples, means over the seeds."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    input: str
    ranked: Interval = Field(description="the own name has the highest likelihood")
    greedy: Interval = Field(description="the first words that are written are the name")
    shuffled: Interval = Field(description="ranked, with another sample's embedding")
    zero_shot: Interval = Field(description="of the embeddings themselves, without the connector")


class ConnectorFigures(BaseModel):
    """What a connector reaches on held-out samples, with 95 % intervals over samples and seeds."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    language_model: str
    foundation: str
    modality: str = Field(description="of the lens whose embeddings were put in")
    classes: int
    samples: int
    groups: int = Field(description="independent groups of them")
    seeds: int
    chosen_seed: int = Field(description="of the connector beside this file, by validation")
    validation: tuple[float, ...] = Field(description="share of validation objects named, by seed")
    chance: float
    inputs: tuple[InputFigures, ...]
    name_in_prompt: Interval = Field(
        description="ranked, with the name itself in the soft token's place: what the language "
        "model and the prompts allow"
    )


def naming_table(found: ConnectorFigures) -> FigureTable:
    """Build the table of a connector: a row per kind of input, and its baseline last."""
    rows = [
        Row(words(one.input), (one.ranked, one.greedy, one.shuffled, one.zero_shot))
        for one in found.inputs
    ]
    baseline = Row("the name itself in the prompt", (found.name_in_prompt, None, None, None))
    return FigureTable(
        "naming by a language model",
        ("ranked", "first words", "shuffled", "zero-shot"),
        (*rows, baseline),
    )
