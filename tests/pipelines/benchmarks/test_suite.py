"""suite: what is mounted, what is measured, what is said of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pipelines.benchmarks.base import Benchmark, Example, Mounted
from pipelines.benchmarks.datasets import benchmarks
from pipelines.benchmarks.embedded import deviations, embed, prepared
from pipelines.benchmarks.mounting import Suite, mount
from pipelines.benchmarks.seen import uids_of
from pipelines.benchmarks.step import BenchmarksConfig
from pipelines.benchmarks.suite import measure
from pipelines.benchmarks.table import NOT_MOUNTED, Table, figure_cells, markdown
from tests.pipelines.benchmarks.made_up import file_in, model_of, point, vectors
from tests.pipelines.source.datasets.small_sounds import write_sound, write_text
from vitlens_core import modalities
from vitlens_core.errors import ConfigError, InputError
from vitlens_core.modalities import point_cloud
from vitlens_core.modalities.audio import AudioSignal, AudioTokenizer
from vitlens_core.modalities.base import SignalConfig, TokenizerConfig
from vitlens_core.row_generator import RowGenerator

CONFIG = BenchmarksConfig(resamples=100, shots=(1, 2), draws=2)
SOUND = AudioSignal(clips=3, clip_s=0.1, mel_bins=16, frames=20)
WORDS = {"dog": (1.0, 0.0), "vacuum": (0.0, 1.0)}


class Plain(SignalConfig):
    """A signal that is what the tower sees: a few numbers."""

    raw_shape = (-1,)

    def store(self, raw: np.ndarray) -> np.ndarray:
        return raw

    def example(self) -> np.ndarray:
        return np.zeros(2, dtype=np.float32)


class AsItIs(TokenizerConfig[Plain]):
    width: int = 2
    points_seen: int = 4

    def prepare(self, signals: torch.Tensor, signal: Plain) -> torch.Tensor:
        return signals

    def augment(
        self, signals: torch.Tensor, signal: Plain, generator: RowGenerator
    ) -> torch.Tensor:
        raise AssertionError("nothing is augmented in a benchmark")

    def build(self, signal: Plain) -> torch.nn.Module:
        return torch.nn.Identity()


def plain_model(**others: Any) -> Any:
    return model_of(Plain(), AsItIs(), "point_cloud", lambda signals: signals, WORDS, **others)


def _example(folder: Path, key: str, values: tuple[float, ...], **more: Any) -> Example:
    path = file_in(folder, f"{key}.bin")
    return Example(key, lambda: {"point_cloud": point(*values)}, (path,), **more)


def _made(folder: Path, **more: Any) -> Mounted:
    """Eight recordings, six of them nearest to their class."""
    places = {"dog": (1, 0.1), "vacuum": (0.1, 1)}
    test = [
        _example(folder, f"{label}{i}", places[label if i else other], labels=(label,))
        for label, other in (("dog", "vacuum"), ("vacuum", "dog"))
        for i in range(4)
    ]
    return Mounted(test, classes=("dog", "vacuum"), **more)


def _benchmark(**more: Any) -> Benchmark:
    settings: dict[str, Any] = {"task": "classification", "protocol": "as told", "licence": "none"}
    settings |= {"published": {"top1": {"Others": 0.9}}, "modality": "point_cloud"}
    return Benchmark(
        name="made", title="Made up", mount=lambda root: Mounted([]), **settings | more
    )


def _measured(
    mounted: Mounted,
    model: Any = None,
    config: BenchmarksConfig = CONFIG,
    **benchmark: Any,
) -> Table:
    suite = Suite(("point_cloud",), {"made": mounted}, (), (), {"made": _benchmark(**benchmark)})
    return measure(suite, model or plain_model(), config, lambda _: None)


# --- the benchmarks that are stated -----------------------------------------------------------


def test_every_benchmark_is_of_a_modality_and_states_what_a_reader_needs():
    assert len(benchmarks()) == 19
    for name, stated in benchmarks().items():
        assert name == stated.name
        assert stated.modality in modalities.lensed()
        assert stated.title
        assert stated.protocol
        assert stated.licence
        modality = modalities.load_lensed(stated.modality)
        settings = {*modality.Signal.model_fields, *modality.Tokenizer.model_fields}
        assert settings >= {*stated.preparation, *stated.expected}
        for figures in stated.published.values():
            assert all(0 < value < 1 for value in figures.values())


@pytest.mark.parametrize(
    ("name", "clips"),
    [("audioset", 3), ("esc50", 2), ("clotho", 6), ("vggsound", 3), ("audiocaps", 3)],
)
def test_recorded_sound_is_heard_in_the_published_number_of_clips(name, clips):
    assert benchmarks()[name].preparation == {"clips": clips}


def test_eeg_s_confound_stands_in_every_row_of_both_sides():
    for side in ("val", "test"):
        assert "known confound" in benchmarks()[f"imagenet_eeg_{side}"].caveat


# --- mounting ---------------------------------------------------------------------------------


def test_nothing_mounted_lists_every_benchmark_of_the_modality_as_skipped():
    suite = mount({}, ["audio"])
    assert not suite.mounted
    assert not suite.failed
    assert {i.benchmark for i in suite.skipped} == {
        *("audiocaps", "audioset", "clotho", "esc50", "msrvtt", "vggsound")
    }
    assert {item.reason for item in suite.skipped} == {NOT_MOUNTED}
    assert suite.content == ""
    table = measure(suite, None, CONFIG, lambda _: None)
    assert table.rows == ()
    assert "not mounted" in markdown(table)


def test_a_data_set_that_cannot_be_listed_fails_alone(tmp_path):
    suite = mount({"esc50": str(tmp_path), "clotho": str(tmp_path / "none")}, ["audio"])
    reasons = {item.benchmark: item.reason for item in suite.failed}
    assert "esc50.csv" in reasons["esc50"]
    assert "no folder" in reasons["clotho"]
    assert not {"esc50", "clotho"} & {item.benchmark for item in suite.skipped}
    assert measure(suite, None, CONFIG, lambda _: None).failed == suite.failed


def test_a_name_that_is_no_benchmark_is_refused():
    with pytest.raises(ConfigError, match=r"'esc5'; did you mean esc50\?"):
        mount({"esc5": "/data"}, ["audio"])
    with pytest.raises(ConfigError, match="esc50 measures audio; the model has depth"):
        mount({"esc50": "/data"}, ["depth"])


def test_the_digest_is_of_what_is_mounted_not_of_where(tmp_path):
    here, there = _made(tmp_path / "a"), _made(tmp_path / "b" / "deeper")
    assert here.digest() == there.digest()
    file_in(tmp_path / "a", "dog1.bin", b"longer")
    assert here.digest() != there.digest()
    relabelled = Mounted(there.test[::-1], classes=there.classes)
    assert relabelled.digest() != there.digest()


# --- measuring --------------------------------------------------------------------------------


def test_figures_of_a_classification_stand_beside_the_published(tmp_path):
    table = _measured(_made(tmp_path), caveat="mind this")
    rows = {(row.kind, row.metric): row for row in table.rows}
    top1 = rows["zero-shot", "top1"]
    assert (top1.value, top1.n, top1.chance) == (6 / 8, 8, 1 / 2)
    assert top1.ci95[0] <= top1.value <= top1.ci95[1]
    assert top1.published == {"Others": 0.9}
    assert (top1.kind, top1.protocol) == ("zero-shot", "as told")
    assert "mind this" in top1.notes
    assert ("1-shot", "top1") in rows
    assert ("linear probe", "top1") in rows
    assert {m for p, m in rows if p == "calibration"} == {"ece", "ece_fitted"}
    # A trained figure is none of the published zero-shot ones.
    assert rows["1-shot", "top1"].published == {}


def test_extra_protocols_can_be_left_out(tmp_path):
    config = CONFIG.model_copy(update={"few_shot": False, "linear_probe": False})
    table = _measured(_made(tmp_path), config=config)
    kinds = {row.kind for row in table.rows}
    assert kinds == {"zero-shot", "calibration"}


def test_the_training_side_is_what_is_learnt_from(tmp_path):
    """Swapped labels on the training side turn every trained figure round, and no other."""
    swapped = {"dog": (0.1, 1), "vacuum": (1, 0.1)}
    training = [
        _example(tmp_path, f"t{label}{i}", swapped[label], labels=(label,))
        for label in swapped
        for i in range(4)
    ]
    table = _measured(_made(tmp_path, training=training))
    found = {(r.kind, r.metric): r for r in table.rows}
    assert found["zero-shot", "top1"].value == 6 / 8
    assert found["1-shot", "top1"].value == found["linear probe", "top1"].value == 2 / 8
    assert found["1-shot", "top1"].n == 8


def test_kinds_are_counted_as_their_label(tmp_path):
    words = {**WORDS, "poodle": (0.9, 0.5)}
    model = model_of(Plain(), AsItIs(), "point_cloud", lambda signals: signals, words)
    test = [
        _example(tmp_path, "a", (0.9, 0.5), labels=("others",)),
        _example(tmp_path, "b", (0, 1), labels=("vacuum",)),
    ]
    mounted = Mounted(test, classes=("dog", "vacuum", "poodle"))
    merged = {"dog": "others", "poodle": "others", "vacuum": "vacuum"}
    table = _measured(mounted, model, merged=merged)
    [top1] = [r for r in table.rows if r.metric == "top1" and r.kind == "zero-shot"]
    assert (top1.value, top1.chance) == (1, 1 / 2)


def test_several_labels_are_scored_by_map_and_composed(tmp_path):
    test = [
        _example(tmp_path, "a", (1, 0), labels=("dog",)),
        _example(tmp_path, "b", (0, 1), labels=("vacuum",)),
        _example(tmp_path, "c", (1, 1), labels=("dog", "vacuum")),
    ]
    mounted = Mounted(test, classes=("dog", "vacuum"))
    table = _measured(mounted, task="multilabel")
    found = {row.metric: row for row in table.rows}
    assert found["map"].value == 1
    assert found["composed_r1"].value == 1
    assert found["composed_r1"].kind == "embedding arithmetic"


def test_captions_are_retrieved_both_ways(tmp_path):
    test = [
        _example(tmp_path, "a", (1, 0), texts=("a dog barks", "the dog")),
        _example(tmp_path, "b", (0, 1), texts=("a vacuum",)),
    ]
    table = _measured(Mounted(test), task="retrieval", word="cloud")
    found = {row.metric: row for row in table.rows}
    assert found["text_to_cloud_r1"].value == found["cloud_to_text_r1"].value == 1
    assert (found["text_to_cloud_r1"].n, found["cloud_to_text_r1"].n) == (3, 2)
    assert found["text_to_cloud_r1"].chance == pytest.approx(1 / 2)


def test_a_recording_that_cannot_be_read_fails_its_data_set_by_name(tmp_path):
    def broken() -> dict[str, np.ndarray]:
        raise InputError("the file is cut short")

    mounted = _made(tmp_path)
    mounted.test.append(Example("bad7", broken, mounted.test[0].files, ("dog",)))
    table = _measured(mounted)
    assert table.rows == ()
    [failure] = table.failed
    assert failure.reason == "bad7: the file is cut short"
    assert "bad7: the file is cut short" in markdown(table)


def test_a_lens_that_sees_less_is_told_of(tmp_path):
    model = plain_model()
    assert deviations(model, _benchmark(expected={"points_seen": 4})) == []
    [note] = deviations(model, _benchmark(expected={"points_seen": 10_000}))
    assert note == "points_seen: 4 here, 10000 in the protocol"
    table = _measured(_made(tmp_path), expected={"points_seen": 10_000})
    assert all(note in row.notes for row in table.rows)


def test_figures_of_text_are_emergent_where_the_lens_never_saw_any(tmp_path):
    suite = Suite(("point_cloud",), {"made": _made(tmp_path)}, (), (), {"made": _benchmark()})
    table = measure(suite, plain_model(), CONFIG, lambda _: None, emergent=True)
    marked = {row.kind: "emergent" in " ".join(row.notes) for row in table.rows}
    assert marked == {
        "zero-shot": True,
        "calibration": True,
        "1-shot": False,
        "2-shot": False,
        "linear probe": False,
    }


def test_generated_files_have_nothing_published_beside_them(tmp_path):
    table = _measured(_made(tmp_path, generated=True))
    assert all(row.published == {} for row in table.rows)
    assert all("generated files" in " ".join(row.notes) for row in table.rows)


def test_the_table_is_json_and_markdown(tmp_path):
    table = _measured(_made(tmp_path), caveat="one | two")
    assert Table.model_validate_json(table.model_dump_json()) == table
    lines = [line for line in markdown(table).splitlines() if line.startswith("| Made up")]
    assert len(lines) == len(table.rows)
    assert len({line.count("|") for line in lines}) == 1
    assert "Others 0.900" in lines[0]
    assert figure_cells(table.rows[0])[1].startswith("0.750 (")
    assert json.loads(table.model_dump_json())["rows"][0]["ci95"]


# --- clips and several modalities -------------------------------------------------------------


def _loudness(clips: torch.Tensor) -> torch.Tensor:
    """[B, frames, mel] → [B, 2]: loud clips point one way and far, quiet ones the other."""
    loud = clips.mean(dim=(1, 2)) > 0.5
    return torch.where(loud[:, None], torch.tensor([10.0, 0.0]), torch.tensor([0.0, 1.0]))


def test_clips_are_averaged_before_normalising():
    """A loud and a quiet clip: afterwards they would weigh the same, and lie in between."""
    model = model_of(SOUND, AudioTokenizer(), "audio", _loudness, WORDS)
    rng = np.random.default_rng(0)
    loud, quiet = 0.5 * rng.normal(size=1600), 1e-4 * rng.normal(size=1600)
    sound = np.concatenate([loud, quiet]).astype(np.float32)
    example = Example("a", lambda: {"audio": sound}, (), ("dog",))
    two = prepared(model, benchmarks()["esc50"])
    found = embed(two, [example], 4, lambda _: None).embeddings[0]
    before = np.array([10 / 2, 1 / 2]) / np.linalg.norm([10 / 2, 1 / 2])
    np.testing.assert_allclose(found, before, atol=1e-6)
    after = np.array([1, 1]) / 2**0.5
    assert abs(found - after).max() > 0.2


def test_a_benchmark_without_preparation_takes_the_lens_as_it_is():
    model = plain_model()
    assert prepared(model, benchmarks()["hapt"]) is model


def test_frames_and_sound_are_fused_and_silence_is_frames_alone():
    seen = {"video": vectors(lambda raw: raw)}
    model = plain_model(**seen)
    both = {"video": point(1, 0), "point_cloud": point(0, 3)}
    examples = [
        Example("a", lambda: both, ()),
        Example("b", lambda: {"video": point(0.6, 0.8)}, ()),
    ]
    found = embed(model, examples, 2, lambda _: None).embeddings
    np.testing.assert_allclose(found, [[0.5**0.5] * 2, [0.6, 0.8]], atol=1e-6)


# --- a real layout, end to end ----------------------------------------------------------------


@pytest.fixture
def esc50(tmp_path: Path) -> Path:
    header = "filename,fold,target,category,esc10,src_file,take"
    rows = []
    for i in range(8):
        dog = i % 2 == 0
        name = f"{i % 5 + 1}-{i}-A-{0 if dog else 36}.wav"
        kind = "0,dog,True" if dog else "36,vacuum_cleaner,False"
        rows.append(f"{name},{i % 5 + 1},{kind},{i},A")
        write_sound(tmp_path / "audio" / name, hz=200 if dog else 4000)
    write_text(tmp_path / "meta" / "esc50.csv", header, *rows)
    return tmp_path


def _pitch(clips: torch.Tensor) -> torch.Tensor:
    """[B, frames, mel] → [B, 2]: the energy of the lower and of the upper bins."""
    lower, upper = clips.exp().mean(dim=1).split(8, dim=1)
    return torch.stack([lower.sum(dim=1), upper.sum(dim=1)], dim=1)


def test_esc50_is_tested_on_all_folds(esc50):
    model = model_of(SOUND, AudioTokenizer(mean=0.0, std=1.0), "audio", _pitch, WORDS)
    suite = mount({"esc50": str(esc50)}, ["audio"])
    told: list[int] = []
    table = measure(suite, model, CONFIG, told.append)
    assert table.failed == ()
    found = {(r.kind, r.metric): r for r in table.rows}
    top1 = found["zero-shot", "top1"]
    assert (top1.value, top1.n) == (1, 8)
    assert top1.published == {"ViT-Lens-L": 0.759, "ImageBind": 0.669}
    assert "clip_s: 0.1 here, 5.0 in the protocol" in top1.notes
    assert sum(told) == suite.recordings == 8
    assert len(table.skipped) == 5


def test_point_clouds_of_a_protocol_s_lens_need_no_note():
    clouds, protocol = point_cloud.PointCloudSignal(), point_cloud.ULIP
    tower = model_of(clouds, protocol, "point_cloud", lambda s: s, WORDS)
    assert deviations(tower, benchmarks()["modelnet40_ulip"]) == []
    assert len(deviations(tower, benchmarks()["modelnet40_openshape"])) == 2


@pytest.mark.parametrize(
    ("trained_on", "seen", "said"),
    [
        (None, None, "seen in training: not known"),
        (set(), 0, "seen in training: none of 8"),
        ({"dog0", "dog3", "another"}, 2, "seen in training: 2 of 8"),
    ],
)
def test_every_row_states_what_was_seen_in_training(tmp_path, trained_on, seen, said):
    suite = Suite(("point_cloud",), {"made": _made(tmp_path)}, (), (), {"made": _benchmark()})
    table = measure(suite, plain_model(), CONFIG, lambda _: None, trained_on=trained_on)
    assert table.rows
    for row in table.rows:
        assert row.seen == seen
        assert said in row.notes
    assert said in markdown(table)


UID, DIGEST = "0d4c557c023a5c77a25f0a9ec88dc1b6", "ab" * 32


@pytest.mark.parametrize(
    ("names", "uids"),
    [
        ([UID, "a-chair"], {UID, "a-chair"}),
        ([f"mine-{UID}"], {UID, f"mine-{UID}"}),  # of a mirror with a prefix
        ([UID, DIGEST], None),  # Objaverse-XL
        ([f"xl-{DIGEST}"], None),
    ],
)
def test_uids_are_known_but_where_samples_are_named_by_their_content(names, uids) -> None:
    assert uids_of(names) == uids
