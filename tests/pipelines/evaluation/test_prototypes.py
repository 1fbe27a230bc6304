"""Classes by training pictures: of foundations whose vision tower has no words beside it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import vitlens_core
from pipelines.evaluation import job as evaluation
from pipelines.evaluation.classes import classes_of, prototypes_of
from pipelines.evaluation.result import EvaluationResult, read_predictions, read_result
from pipelines.evaluation.step import EvaluationConfig
from pipelines.execution.runtime import Runtime
from pipelines.foundation import job as foundation
from pipelines.foundation.info import read_info
from pipelines.foundation.step import FoundationConfig
from pipelines.index import job as index
from pipelines.index.step import IndexConfig
from pipelines.lens import job as lens
from pipelines.lens.settings import TrainConfig
from pipelines.shards.sample import SampleInfo
from pipelines.store.artifacts import Artifact
from pipelines.store.shards import Sample, encode_array
from pipelines.targets import job as targets
from pipelines.targets.step import TargetsConfig
from tests import tiny_hf
from tests.pipelines import synthetic
from tests.pipelines.conftest import CLOUDS
from tests.tiny_models import TinyFoundation
from vitlens_core.api.classes import class_embeddings, knows_classes
from vitlens_core.errors import CheckpointError, ConfigError
from vitlens_core.models.tower_settings import TowerSettings
from vitlens_core.prototypes import Prototypes, encode_prototypes, load_prototypes


class _WithoutText(TinyFoundation):
    @property
    def has_text(self) -> bool:
        return False


def test_a_prototype_is_the_mean_of_its_samples_of_which_each_counts_once(
    runtime: Runtime,
) -> None:
    """One object has a hundred views; an unlabelled one and the validation have no say."""
    made = {number: synthetic.sample(number, "train") for number in range(6)}
    made[0]["image_targets.npy"] = encode_array(np.tile(np.eye(1, 8), (100, 1)).astype("f2"))
    made[3]["image_targets.npy"] = encode_array(np.tile(np.eye(1, 8, 1), (3, 1)).astype("f2"))
    info = SampleInfo.of(made[4]).model_copy(update={"label": None})
    made[4]["json"] = info.encode()

    def make(number: int, split: str) -> Sample:
        return made[number] if split == "train" else synthetic.sample(number, split)

    found = prototypes_of(synthetic.targets(runtime.store, {"train": (4, 2), "val": (6,)}, make))
    assert found.names == ("ball", "disc", "pole")
    ball = torch.tensor([1.0, 1, 0, 0, 0, 0, 0, 0]) / 2**0.5
    torch.testing.assert_close(found.of(["ball"])[0], ball)
    torch.testing.assert_close(found.embeddings.norm(dim=1), torch.ones(3))
    with pytest.raises(ConfigError, match=r"classes lamp: .* no picture of them .* ball, disc"):
        found.of(["ball", "lamp"])


def test_without_labelled_pictures_nothing_stands_for_a_class(runtime: Runtime) -> None:
    nothing = encode_array(np.zeros((0, 8), np.float16))

    def blind(number: int, split: str) -> Sample:
        return synthetic.sample(number, split) | {"image_targets.npy": nothing}

    with pytest.raises(ConfigError, match="nothing stands for a class"):
        prototypes_of(synthetic.targets(runtime.store, {"train": (3,)}, blind))


def test_words_come_first_and_where_there_is_neither_a_sentence_says_so() -> None:
    known = Prototypes(("car",), torch.eye(1, 10))
    assert classes_of(TinyFoundation(), known, ["car"], ("a {}",)).by == "words"
    found = classes_of(_WithoutText(), known, ["car"], ("a {}",))
    assert (found.by, found.embeddings.tolist()) == ("prototypes", known.embeddings.tolist())
    with pytest.raises(ConfigError, match="no text tower, and there are no prototypes"):
        classes_of(_WithoutText(), None, ["car"], ("a {}",))


def test_prototypes_are_kept_whole_and_damage_is_refused(tmp_path: Path) -> None:
    path, known = tmp_path / "prototypes.safetensors", Prototypes(("a", "b"), torch.eye(2, 5))
    path.write_bytes(encode_prototypes(known))
    assert path.read_bytes() == encode_prototypes(known)
    loaded = load_prototypes(path, 5)
    assert (loaded.names, torch.equal(loaded.embeddings, known.embeddings)) == (("a", "b"), True)
    damaged = {
        r"of width 6; found \[2, 5\]": (known, 6),
        "expected a name for each": (Prototypes(("a",), known.embeddings), 5),
        "NaN": (Prototypes(known.names, known.embeddings * float("nan")), 5),
    }
    for reason, (one, width) in damaged.items():
        path.write_bytes(encode_prototypes(one))
        with pytest.raises(CheckpointError, match=reason):
            load_prototypes(path, width)


@pytest.mark.parametrize("kind", ["llava", "blip-2"])
def test_a_foundation_without_words_is_evaluated_and_asked_by_its_prototypes(
    kind: str, runtime: Runtime, shards_artifact: Artifact, tmp_path: Path
) -> None:
    """The whole flow: targets of images alone, a lens, its figures, its model."""
    config = FoundationConfig(spec=f"hf:{tiny_hf.write(kind, tmp_path / 'whole')}")
    base = foundation.run(runtime, config, {}, shards_artifact)
    assert not read_info(base).has_text
    aims = targets.run(runtime, TargetsConfig(), shards_artifact, base)
    tokenizer = {"points_seen": 128, "groups": 9, "group_size": 4, "encoder_dim": 16, "width": 16}
    shape = {"latents": 4, "depth": 1, "latent_heads": 2, "latent_dim_head": 8, "cross_dim_head": 8}
    tower = TowerSettings.of(
        "point_cloud", signal=CLOUDS.model_dump(), tokenizer=tokenizer, lens=shape
    )
    train = {"steps": 2, "batch_size": 6, "warmup_steps": 1, "precision": "fp32"}
    with pytest.raises(ConfigError, match=r"text_weight: the foundation .* has no text tower; set"):
        lens.run(runtime, TrainConfig.model_validate(train), tower, aims, base)
    alone = TrainConfig.model_validate(train | {"text_weight": 0})
    made = lens.run(runtime, alone, tower, aims, base)
    done = evaluation.run(runtime, EvaluationConfig(), aims, base, made)
    result = read_result(done)
    assert (result.classes_by, result.emergent) == ("prototypes", False)
    assert "point_to_text" not in result.retrieval
    assert result.foundation_image_zero_shot is not None
    assert "classes_by" in result.model_dump(mode="json")

    folder = tmp_path / "model"
    folder.mkdir()
    for artifact, names in ((made, ["lens.safetensors"]), (base, ["foundation.json"]),
                            (done, ["prototypes.safetensors"])):  # fmt: skip
        for name in names:
            (folder / name).write_bytes(artifact.read_whole(name))
    _is_asked(folder, result, read_predictions(done)[0].predicted[0])
    index.run(runtime, IndexConfig(thumbnail_px=32), shards_artifact, aims, base, made)


def _is_asked(folder: Path, result: EvaluationResult, known: str) -> None:
    model = vitlens_core.load(folder)
    assert knows_classes(model)
    assert "text" not in model.modalities
    cloud = np.random.default_rng(0).random((200, 6)).astype(np.float32)
    (said,) = model.ask(cloud, "what is it?", answers=result.classes)
    assert (said.by, said.text in result.classes) == ("zero-shot", True)
    nearest = model.similarity(
        model.encode({"point_cloud": [cloud]})["point_cloud"],
        class_embeddings(model, result.classes, "point_cloud"),
    ).argmax()
    assert said.text == result.classes[int(nearest)]
    assert known in result.classes
    with pytest.raises(ConfigError, match="no words for them"):
        model.ask(cloud, "what is it?", answers=["a thing"])
    (folder / "prototypes.safetensors").unlink()
    with pytest.raises(ConfigError, match="has no words, and no prototypes of classes"):
        vitlens_core.load(folder).ask(cloud, "what is it?", answers=result.classes)
