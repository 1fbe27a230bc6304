"""measuring: what held-out samples are named, by image and by a lens that the connector never saw.

Axes: S seeds, B samples, K classes, E embedding, W width of the language model's input embeddings.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from pipelines.connector.figures import (
    TRAINING_FILE,
    ConnectorFigures,
    InputFigures,
    TrainingRecord,
)
from pipelines.connector.naming import Namer
from pipelines.connector.objects import Objects, read_objects
from pipelines.connector.settings import MeasuringConfig
from pipelines.evaluation.classes import classes_of, prototypes_of
from pipelines.evaluation.embedding import EmbeddedSplit, embed_split
from pipelines.evaluation.step import EvaluationConfig
from pipelines.execution.runtime import Runtime
from pipelines.foundation.opening import open_foundation, open_lens
from pipelines.store.artifacts import Artifact
from vitlens_core import metrics, modalities
from vitlens_core.captions import label_phrase
from vitlens_core.intervals import Bootstrap
from vitlens_core.model_files import LENS_FILE
from vitlens_core.plugins.ask.connector import Connector, load_connector
from vitlens_core.plugins.ask.language import NAMING, LanguageModel
from vitlens_core.scratch import Scratch


def measure(
    runtime: Runtime,
    config: MeasuringConfig,
    language: LanguageModel,
    connectors: Artifact,
    targets: Artifact,
    foundation: Artifact,
    lens: Artifact,
) -> ConnectorFigures:
    """Name the held-out samples with the connectors of all seeds.

    Raises:
        ConfigError: no held-out sample has a label.
    """
    record = connectors.read_model(TRAINING_FILE, TrainingRecord)
    opened = _open_all(connectors, record)
    encoder = open_foundation(foundation).to(runtime.resources.device)
    tower, settings = open_lens(lens, LENS_FILE, encoder)
    wanted = EvaluationConfig(batch_size=config.batch_size)
    split = embed_split(runtime, wanted, targets, tower, settings)
    labels = split.class_names
    templates = modalities.load(settings.modality).templates
    prototypes = None if encoder.has_text else prototypes_of(targets)
    held_out = _HeldOut(
        config, language, opened, split, read_objects(targets, "train"),
        classes_of(encoder, prototypes, labels, templates).embeddings,
    )  # fmt: skip
    inputs = _inputs(settings.modality, split, targets)
    return ConnectorFigures(
        language_model=language.source,
        foundation=encoder.spec,
        modality=settings.modality,
        classes=len(labels),
        samples=len(split.keys),
        groups=len(set(split.groups)),
        seeds=len(opened),
        chosen_seed=record.chosen.seed,
        validation=tuple(one.best for one in record.seeds),
        chance=1 / len(labels),
        inputs=tuple(held_out.named(name, vectors) for name, vectors in inputs.items()),
        name_in_prompt=held_out.named_in_prompt(),
    )


def open_connector(connectors: Artifact, name: str) -> Connector:
    """Open the connector of one seed; errors as `load_connector` and `Artifact.read_whole`."""
    return _loaded(connectors.read_whole(name))


def _loaded(content: bytes) -> Connector:
    with Scratch("connector") as folder:
        local = Path(folder, "connector.safetensors")
        local.write_bytes(content)
        return load_connector(local)[0]


def _open_all(connectors: Artifact, record: TrainingRecord) -> list[Connector]:
    """Open the connectors of all seeds; those of equal content are one object."""
    contents = [connectors.read_whole(one.file) for one in record.seeds]
    opened = {content: _loaded(content) for content in set(contents)}
    return [opened[content] for content in contents]


def _inputs(modality: str, split: EmbeddedSplit, targets: Artifact) -> dict[str, np.ndarray]:
    """Return the embeddings [B, E] to put in, by what they are of."""
    of_lens = {modality: split.embeddings}
    if split.images is None:
        return of_lens
    # All have images, so that both lists are in the order of the shards.
    first = read_objects(targets, "test").first_views().numpy()
    return {"image, mean of the views": split.images, "image, one view": first, **of_lens}


class _HeldOut:
    """The held-out samples, and a namer for the connector of each seed."""

    def __init__(
        self,
        config: MeasuringConfig,
        language: LanguageModel,
        connectors: Sequence[Connector],
        split: EmbeddedSplit,
        train: Objects,
        classes: np.ndarray,
    ) -> None:
        self.config, self.language, self.split = config, language, split
        self.device = language.model.device
        self.connectors = [connector.to(self.device) for connector in connectors]
        self.of_classes = classes
        self.classes = [label_phrase(label) for label in split.class_names]
        self.names = [label_phrase(label) for label in split.labels]
        self.bootstrap = Bootstrap(config.resamples, config.seed, split.groups)
        means = train.means().to(self.device)
        # Seeds that end at the regression alone have one connector, which is asked once.
        self.namers = {
            own: Namer.of(language, self.classes, own(means)) for own in set(self.connectors)
        }

    def named(self, name: str, embeddings: np.ndarray) -> InputFigures:
        """Name embeddings [B, E] with every connector."""
        ranked, greedy, shuffled = [], [], []
        answers = {connector: self._answers(connector, embeddings) for connector in self.namers}
        for seed, connector in enumerate(self.connectors):
            scores, begun = answers[connector]
            namer = self.namers[connector]
            ranked.append(namer.hits(scores, self.names))
            others = scores[another(len(scores), self.config.seed + seed)]
            shuffled.append(namer.hits(others, self.names))
            greedy.append(begun)
        own = self.split.label_ids(self.split.class_names)
        direct = metrics.zero_shot(embeddings, self.of_classes, own, self.bootstrap)
        return InputFigures(
            input=name,
            ranked=metrics.mean_over_runs(np.stack(ranked), self.bootstrap),
            greedy=metrics.mean_over_runs(np.stack(greedy), self.bootstrap),
            shuffled=metrics.mean_over_runs(np.stack(shuffled), self.bootstrap),
            zero_shot=direct.top1,
        )

    def named_in_prompt(self) -> metrics.Interval:
        """Rank the names where each sample's own name stands in the soft token's place."""
        words = torch.stack([self.language.of_word(name) for name in self.classes])
        namer = Namer.of(self.language, self.classes, words)
        scores = torch.stack([
            torch.cat([self.language.scores(p, self.language.named(p, name), self.classes)
                       for name in self.classes])
            for p in NAMING
        ]).mean(dim=0)  # fmt: skip
        right = namer.hits((scores - namer.without_content).numpy(), self.classes)
        hits = right[[self.classes.index(name) for name in self.names]]
        return self.bootstrap.draws(len(hits)).share(hits)

    def _answers(
        self, connector: Connector, embeddings: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the names' scores [B, K], and where the name is written first: bool [B]."""
        soft = connector(torch.from_numpy(embeddings).float().to(self.device))
        return self.namers[connector].scores(soft), self._greedy(soft)

    def _greedy(self, soft: Tensor) -> np.ndarray:
        """Tell for which soft tokens [B, W] the text written greedily begins with the name."""
        prompt = NAMING[0]
        longest = max(len(self.language.name_ids(prompt, name)) for name in self.classes)
        prefix = self.language.prompted(prompt, soft)
        written = self.language.greedy(prefix, longest + 1)  # the end of the word shows
        pairs = zip(written, self.names, strict=True)
        return np.array([begins_with(text, name) for text, name in pairs])


def another(count: int, seed: int) -> np.ndarray:
    """Return for each of `count` samples another one, in a drawn order: [B]."""
    order = np.random.default_rng(seed).permutation(count)
    found = np.empty(count, dtype=np.int64)
    # Each gets the next in the order, so that none gets itself.
    found[order] = np.roll(order, -1)
    return found


def begins_with(text: str, name: str) -> bool:
    """Whether a text's first words are a name, in letters of either case."""
    rest = text.strip().casefold()
    return rest.startswith(name.casefold()) and not rest[len(name) : len(name) + 1].isalnum()
