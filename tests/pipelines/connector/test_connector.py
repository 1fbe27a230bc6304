"""A connector is trained on images alone, and measured with a lens that it never saw."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from pipelines.connector import job, measuring
from pipelines.connector.figures import TRAINING_FILE, ConnectorFigures, TrainingRecord
from pipelines.connector.measuring import another, begins_with, open_connector
from pipelines.connector.naming import Namer
from pipelines.connector.objects import Objects, read_objects
from pipelines.connector.settings import ConnectorConfig, MeasuringConfig
from pipelines.connector.training import Named, Trainer, regression, simplest
from pipelines.execution.runtime import Runtime
from pipelines.store.artifacts import Artifact
from tests import tiny_language
from tests.pipelines import synthetic
from vitlens_core.errors import ConfigError
from vitlens_core.plugins.ask.language import LanguageModel, open_language_model

pytestmark = pytest.mark.slow

CONFIG = ConnectorConfig(seeds=2, steps=60, check_every=20, learning_rate=0.02, hidden=16)
SIZES = {"train": (12, 9), "val": (9,), "test": (12,)}


@pytest.fixture(scope="module")
def language(tmp_path_factory: pytest.TempPathFactory) -> LanguageModel:
    return open_language_model(tiny_language.write("llama", tmp_path_factory.mktemp("language")))


@pytest.fixture
def targets(runtime: Runtime) -> Artifact:
    return synthetic.targets(runtime.store, SIZES)


@pytest.fixture
def foundation(runtime: Runtime, tiny_lit: str) -> Artifact:
    return synthetic.foundation(runtime.store, tiny_lit)


def test_a_regression_finds_what_is_linear() -> None:
    generator = torch.Generator().manual_seed(0)
    views = F.normalize(torch.randn(60, 5, generator=generator), dim=-1)
    weight, bias = torch.randn(7, 5, generator=generator), torch.randn(7, generator=generator)
    found = regression(views, views @ weight.T + bias, 1e-9)
    torch.testing.assert_close(found[0], weight, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(found[1], bias, rtol=1e-4, atol=1e-4)
    shrunk = regression(views, views @ weight.T + bias, 10.0)
    assert shrunk[0].norm() < weight.norm() / 2


def test_steps_lower_the_loss_and_leave_the_language_model_alone(
    language: LanguageModel, targets: Artifact
) -> None:
    before = {name: t.clone() for name, t in language.model.state_dict().items()}
    train, val = read_objects(targets, "train"), read_objects(targets, "val")
    assert train.classes == ["ball", "disc", "pole"]
    trainer = Trainer(CONFIG, language, train, val)
    steps: list[int] = []
    trained = trainer.run(0, lambda: steps.append(1))
    assert len(steps) == CONFIG.steps
    assert sorted(trained.naming) == [0, 20, 40, 60]
    untrained = trainer._connector(trainer.start, 0)
    draws = [torch.Generator().manual_seed(9) for _ in range(2)]
    with torch.inference_mode():
        first, last = (
            trainer._loss(connector, draw).item()
            for connector, draw in zip((untrained, trained.connector), draws, strict=True)
        )
    assert trained.step > 0, "tiny random words need more than the regression"
    assert last < first
    after = language.model.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_of_what_is_within_one_standard_error_of_the_best_the_simplest_is_taken() -> None:
    def chosen(*shares: float) -> int:
        return simplest([(n, Named(share, 0.1)) for n, share in enumerate(shares)])[0]

    assert chosen(0.5, 0.55, 0.59) == 0
    assert chosen(0.4, 0.55, 0.6) == 1
    assert chosen(0.4, 0.45, 0.6) == 2
    assert simplest([("a", Named(1.0, 0.0)), ("b", Named(1.0, 0.0))])[0] == "a"


def test_connectors_are_chosen_by_images_and_by_captions(
    language: LanguageModel, targets: Artifact
) -> None:
    """One that names images only counts half; without captions images count alone."""
    train, val = read_objects(targets, "train"), read_objects(targets, "val")
    assert len(val.captions) == len(val.names)
    own = Trainer(CONFIG, language, train, val)
    connector = own._connector(own.start, 0)
    without = Trainer(CONFIG, language, train, replace(val, captions=[]))
    both, by_image = (trainer._naming(connector).share for trainer in (own, without))
    names, means = val.of_captions()
    namer = Namer.of(language, train.classes, connector(train.means()))
    by_caption = float(namer.hits(namer.scores(connector(means)), names).mean())
    assert both == pytest.approx((by_image + by_caption) / 2)
    assert replace(val, captions=[]).of_captions()[0] == []


def test_one_connector_a_seed_of_images_alone(
    runtime: Runtime, language: LanguageModel, targets: Artifact, foundation: Artifact
) -> None:
    made = job.run(runtime, CONFIG, language, targets, foundation)
    assert sorted(made.manifest.inputs) == ["foundation", "targets"]  # and no lens
    record = made.read_model(TRAINING_FILE, TrainingRecord)
    assert [one.seed for one in record.seeds] == [0, 1]
    assert record.chosen.best == max(one.best for one in record.seeds)
    zero, one = (made.read_whole(each.file) for each in record.seeds)
    assert zero != one
    assert job.run(runtime, CONFIG, language, targets, foundation).reused


def test_the_language_model_is_part_of_the_fingerprint_but_not_its_folder(
    runtime: Runtime, targets: Artifact, foundation: Artifact, tmp_path: Path
) -> None:
    few = CONFIG.model_copy(update={"steps": 1, "seeds": 1})
    folders = [tiny_language.write("llama", tmp_path / str(n), seed=n // 2) for n in range(3)]
    made = [
        job.run(runtime, few, open_language_model(each), targets, foundation) for each in folders
    ]
    assert made[0].fingerprint == made[1].fingerprint != made[2].fingerprint
    assert made[1].reused


def test_objects_without_labels_or_images_are_refused(runtime: Runtime) -> None:
    with pytest.raises(ConfigError, match="no object of the 'val' split has a label and images"):
        read_objects(synthetic.targets(runtime.store, {"train": (3,)}), "val")


def test_measured_by_images_and_by_the_lens(
    runtime: Runtime,
    language: LanguageModel,
    targets_artifact: Artifact,
    foundation_artifact: Artifact,
    lens_artifact: Artifact,
) -> None:
    config = CONFIG.model_copy(update={"steps": 20})
    made = job.run(runtime, config, language, targets_artifact, foundation_artifact)
    inputs = (targets_artifact, foundation_artifact, lens_artifact)
    found = measuring.measure(runtime, MeasuringConfig(resamples=200), language, made, *inputs)
    assert ConnectorFigures.model_validate_json(found.model_dump_json()) == found
    assert [one.input for one in found.inputs] == [
        "image, mean of the views", "image, one view", "point_cloud"
    ]  # fmt: skip
    assert (found.seeds, found.chance) == (2, 1 / found.classes)
    for one in found.inputs:
        for figure in (one.ranked, one.greedy, one.shuffled, one.zero_shot):
            assert 0 <= figure.low <= figure.value <= figure.high <= 1
    record = made.read_model(TRAINING_FILE, TrainingRecord)
    assert open_connector(made, record.chosen.file).linear.in_features == 32


def test_a_namer_ranks_what_content_adds_to_a_name(language: LanguageModel) -> None:
    names = ["chair", "lamp"]
    words = torch.stack([language.of_word(name) for name in names])
    namer = Namer.of(language, names, words)
    mean = words.mean(dim=0, keepdim=True)
    np.testing.assert_allclose(namer.scores(mean), 0, atol=1e-4)
    scores = np.array([[2.0, 1.0], [1.0, 1.0], [3.0, 2.0]])
    # A tie is no hit.
    assert namer.hits(scores, ["chair", "lamp", "lamp"]).tolist() == [True, False, False]


def test_shuffled_embeddings_are_another_samples() -> None:
    for count in (2, 7, 76):
        found = another(count, 0)
        assert sorted(found) == list(range(count))
        assert (found != np.arange(count)).all()


@pytest.mark.parametrize(
    ("text", "is_name"),
    [
        (" Street lamp, at night", True),
        ("street lamp", True),
        ("street lamps", False),
        ("a street lamp", False),
        ("street", False),
    ],
)
def test_the_first_words_are_the_name(text: str, is_name: bool) -> None:
    assert begins_with(text, "street lamp") is is_name


def test_views_and_their_means_have_unit_norm(targets: Artifact) -> None:
    found: Objects = read_objects(targets, "test")
    assert len(found.names) == 12
    for embedded in (found.means(), found.first_views()):
        torch.testing.assert_close(embedded.norm(dim=-1), torch.ones(12))
