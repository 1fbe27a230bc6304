"""The API: what it loads, that it encodes as the towers do, and what it refuses."""

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
import torch.nn.functional as F
from PIL import Image
from safetensors.torch import save_file

import vitlens_core
from tests.contracts.examples import raws, tower_settings
from tests.tiny_models import TinyFoundation
from vitlens_core.checkpoint import encode_lens
from vitlens_core.errors import CheckpointError, ConfigError, InputError
from vitlens_core.foundation import load_foundation
from vitlens_core.foundation.base import Foundation
from vitlens_core.models.reference import build_imagebind, build_towers, load_openshape_tower
from vitlens_core.models.tower import build_tower

ROOT = Path(__file__).parents[2]
PARITY = ROOT / "tests" / "parity" / "data" / "tiny"
FOUNDATION = TinyFoundation()
MODALITIES = ["point_cloud", "audio"]


def _write_lens(folder: Path, name: str, foundation: Foundation = FOUNDATION) -> Path:
    torch.manual_seed(0)
    settings = tower_settings(name)
    state = build_tower(settings, foundation.trunk).trained_state()
    lens = encode_lens(state, settings, foundation.spec, foundation.digest())
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "lens.safetensors"
    path.write_bytes(lens)
    return path


@pytest.fixture(scope="module")
def lenses(tmp_path_factory) -> list[Path]:
    folder = tmp_path_factory.mktemp("lenses")
    return [_write_lens(folder / name, name) for name in MODALITIES]


@pytest.fixture(scope="module")
def model(lenses) -> vitlens_core.Model:
    return vitlens_core.load(*lenses, foundation=FOUNDATION)


def _inputs(count: int = 5) -> dict[str, list]:
    return {name: raws(name, count) for name in [*MODALITIES, "image", "video", "text"]}


# --- encode ---------------------------------------------------------------------------------


def test_everything_lies_in_one_space_at_unit_norm(model):
    found = model.encode(_inputs())
    assert list(found) == list(_inputs())
    for embeddings in found.values():
        assert embeddings.shape == (5, FOUNDATION.embed_dim)
        assert embeddings.dtype == torch.float32
        torch.testing.assert_close(embeddings.norm(dim=-1), torch.ones(5))


def test_bytes_of_no_known_kind_are_named(model):
    with pytest.raises(
        InputError, match=r"point_cloud\[0\]: expected the bytes of a file .*found HTML"
    ):
        model.encode({"point_cloud": [b"<html>not found</html>"]})


@pytest.mark.parametrize("batch_size", [1, 2, 5, 100])
def test_the_batch_size_changes_nothing(model, batch_size):
    """Within float32's rounding of differently shaped products."""
    for name, embeddings in model.encode(_inputs(), batch_size=batch_size).items():
        expected = model.encode({name: _inputs()[name]})[name]
        torch.testing.assert_close(embeddings, expected, atol=1e-5, rtol=0)


def test_texts_of_other_lengths_beside_a_text_change_nothing(model):
    alone = model.encode({"text": ["a chair"]})["text"]
    beside = model.encode({"text": ["a chair", "a red chair beside a very small lamp"]})["text"]
    torch.testing.assert_close(beside[:1], alone)


def test_files_and_arrays_are_encoded_alike(model, tmp_path):
    (wave,), (cloud,), (picture,) = (raws(n, 1) for n in ("audio", "point_cloud", "image"))
    soundfile.write(tmp_path / "a.wav", wave, 16_000, subtype="FLOAT")
    np.save(tmp_path / "a.npy", cloud)
    Image.fromarray(picture).save(tmp_path / "a.png")
    (tmp_path / "a.txt").write_text("a chair\n")
    arrays = {"audio": [wave], "point_cloud": [cloud], "image": [picture], "text": ["a chair"]}
    files = {"audio": "a.wav", "point_cloud": "a.npy", "image": "a.png", "text": "a.txt"}
    paths = {name: [tmp_path / file] for name, file in files.items()}
    expected = model.encode(arrays)
    contents = {name: [path.read_bytes() for path in paths[name]] for name in MODALITIES}
    for name, embeddings in model.encode(contents).items():
        torch.testing.assert_close(embeddings, expected[name], atol=1e-5, rtol=0)
    for name, embeddings in model.encode(paths).items():
        torch.testing.assert_close(embeddings, expected[name])


@pytest.mark.slow
def test_untrusted_files_give_the_same_embeddings(model, tmp_path):
    (wave,), (cloud,), (picture,) = (raws(n, 1) for n in ("audio", "point_cloud", "image"))
    soundfile.write(tmp_path / "a.wav", wave, 16_000, subtype="FLOAT")
    np.save(tmp_path / "a.npy", cloud)
    Image.fromarray(picture).save(tmp_path / "a.png")
    files = {"audio": "a.wav", "point_cloud": "a.npy", "image": "a.png"}
    inputs = {name: [tmp_path / file] for name, file in files.items()} | {"text": ["a chair"]}
    expected = model.encode(inputs)
    for name, embeddings in model.encode(inputs, trusted=False).items():
        torch.testing.assert_close(embeddings, expected[name], atol=1e-6, rtol=0)
    (tmp_path / "b.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n")
    with pytest.raises(InputError, match=r"image\[0\].*b\.png"):
        model.encode({"image": [tmp_path / "b.png"]}, trusted=False)


@pytest.mark.parametrize(
    "options", [{"rate_hz": float("nan")}, {"rate_hz": float("inf")}, {"rate_hz": 1e30}]
)
def test_options_out_of_bounds_are_refused(tmp_path, options):
    model = vitlens_core.load(_write_lens(tmp_path, "imu"), foundation=FOUNDATION)
    with pytest.raises(ConfigError, match="out of bounds"):
        model.encode({"imu": raws("imu", 1)}, reader_options={"imu": options})


def test_what_files_do_not_say_is_said_by_options(tmp_path):
    path = _write_lens(tmp_path, "imu")
    model = vitlens_core.load(path, foundation=FOUNDATION)
    np.save(tmp_path / "a.npy", np.repeat(raws("imu", 1)[0], 2, axis=1))
    slow, fast = (
        model.encode({"imu": [tmp_path / "a.npy"]}, reader_options={"imu": {"rate_hz": rate}})[
            "imu"
        ]
        for rate in (400, 800)
    )
    assert not torch.allclose(slow, fast, atol=1e-3)
    with pytest.raises(ConfigError, match="reading imu takes rate_hz; found hertz"):
        model.encode({"imu": [tmp_path / "a.npy"]}, reader_options={"imu": {"hertz": 400}})


def test_a_single_input_is_a_batch_of_one(model):
    cloud = raws("point_cloud", 1)[0]
    for name, one in (("point_cloud", cloud), ("text", "a chair")):
        torch.testing.assert_close(
            model.encode({name: one})[name], model.encode({name: [one]})[name]
        )
    tensor = model.encode({"point_cloud": torch.from_numpy(cloud)})["point_cloud"]
    torch.testing.assert_close(tensor, model.encode({"point_cloud": cloud})["point_cloud"])


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "P", "1", "CMYK"])
def test_a_picture_of_pillow_is_read_as_its_file(model, mode, tmp_path):
    pixels = np.random.default_rng(0).integers(0, 255, (48, 64, 3), dtype=np.uint8)
    picture = Image.fromarray(pixels).convert(mode)
    picture.save(tmp_path / "same.tiff")
    as_object = model.encode({"image": picture})["image"]
    torch.testing.assert_close(as_object, model.encode({"image": tmp_path / "same.tiff"})["image"])


def test_a_model_says_what_it_is(model, lenses):
    said = repr(model)
    assert "point_cloud, audio, image, video, text on cpu, fp32" in said
    assert f"point_cloud: temperature {model.temperature('point_cloud'):.4g}, of training" in said


@pytest.mark.nightly
def test_a_model_has_its_towers_and_exports_them(model, tmp_path):
    assert isinstance(model.tower("point_cloud"), torch.nn.Module)
    assert model.export_onnx("point_cloud", tmp_path / "tower.onnx") <= 1e-4
    with pytest.raises(ConfigError, match="text has no tower of its own"):
        model.tower("text")


def test_the_package_lists_its_names():
    assert {"Model", "load", "export", "__version__"} <= set(dir(vitlens_core))
    assert str(vitlens_core.__version__).count(".") == 2
    assert all(getattr(vitlens_core, name) for name in dir(vitlens_core))


def test_a_wrong_input_is_named_by_its_place(model):
    cloud = raws("point_cloud", 1)[0]
    with pytest.raises(InputError, match=r"point_cloud\[1\]: .*at least 32 points, found 10"):
        model.encode({"point_cloud": [cloud, cloud[:10]]})
    with pytest.raises(InputError, match=r"point_cloud\[0\]: "):
        model.encode({"point_cloud": np.stack([cloud, cloud])})  # no list: one input
    with pytest.raises(InputError, match="text: expected inputs, found none"):
        model.encode({"text": []})
    with pytest.raises(ConfigError, match="'depth' is not loaded; there are: point_cloud"):
        model.encode({"depth": [cloud]})


# --- similarity, fuse, calibrated -------------------------------------------------------------


def _unit(*shape: int) -> torch.Tensor:
    return F.normalize(torch.randn(*shape, generator=torch.Generator().manual_seed(0)), dim=-1)


def test_similarities_are_cosines(model):
    a, b = _unit(3, 8), _unit(5, 8)
    expected = F.cosine_similarity(a[:, None], b[None], dim=-1)
    torch.testing.assert_close(model.similarity(a, b), expected)
    with pytest.raises(InputError, match=r"\[3, 8\] and \[5, 7\]"):
        model.similarity(a, b[:, :7])


def test_fusing_is_a_weighted_sum_then_normalised(model):
    a, b = _unit(2, 4, 8)
    fused = model.fuse({"audio": a, "text": b}, {"audio": 2, "text": -0.5})
    torch.testing.assert_close(fused, F.normalize(2 * a - 0.5 * b, dim=-1))
    torch.testing.assert_close(model.fuse({"audio": a, "text": b}), F.normalize(a + b, dim=-1))
    with pytest.raises(InputError, match="one weight for each of audio, text; found audio"):
        model.fuse({"audio": a, "text": b}, {"audio": 1})
    with pytest.raises(InputError, match="of one shape"):
        model.fuse({"audio": a, "text": b[:2]})
    with pytest.raises(InputError, match="cancel out"):
        model.fuse({"audio": a, "text": a}, {"audio": 1, "text": -1})


def test_calibrated_similarities_are_probabilities_at_a_stated_temperature(model):
    similarities = model.similarity(_unit(3, 8), _unit(5, 8))
    lens = model.calibrated(similarities)
    assert lens.temperature == pytest.approx(0.07)  # an untrained lens
    torch.testing.assert_close(lens.probabilities, (similarities / 0.07).softmax(dim=1))
    assert model.calibrated(similarities, "image").temperature == pytest.approx(0.1)
    assert model.calibrated(similarities, temperature=2.0).temperature == 2.0
    with pytest.raises(InputError, match="temperature above 0"):
        model.calibrated(similarities, temperature=0.0)
    with pytest.raises(InputError, match=r"\[A, C\], found \[3\]"):
        model.calibrated(similarities[:, 0])


# --- load: our own lenses ---------------------------------------------------------------------


def test_only_what_is_chosen_is_loaded(lenses):
    model = vitlens_core.load(*lenses, foundation=FOUNDATION, modalities=["audio"])
    assert model.modalities == ["audio"]
    with pytest.raises(ConfigError, match="cannot encode eeg"):
        vitlens_core.load(*lenses, foundation=FOUNDATION, modalities=["audio", "eeg"])
    with pytest.raises(ConfigError, match="unknown modality 'smell'"):
        vitlens_core.load(*lenses, foundation=FOUNDATION, modalities=["smell"])


def test_another_foundation_is_refused(lenses):
    with pytest.raises(CheckpointError, match="not against the foundation given"):
        vitlens_core.load(lenses[0], foundation=TinyFoundation(seed=1))


def test_a_registered_models_folder_and_scheme_are_followed(lenses, tmp_path, monkeypatch):
    artifacts = tmp_path / "artifacts"
    artifacts.mkdir()
    (artifacts / "lens.safetensors").write_bytes(lenses[0].read_bytes())

    _install_source(tmp_path / "site", monkeypatch, leads_to=tmp_path)
    for source in (tmp_path, "shelf:/point@champion"):
        model = vitlens_core.load(source, foundation=FOUNDATION)
        assert model.modalities == ["point_cloud", "image", "video", "text"]


def _install_source(site: Path, monkeypatch, leads_to: Path) -> None:
    """A package with an entry point for `shelf:/` sources, as pip would install it."""
    site.mkdir()
    (site / "shelf.py").write_text(f"def find(source):\n    return {str(leads_to)!r}\n")
    described = site / "shelf-1.dist-info"
    described.mkdir()
    (described / "METADATA").write_text("Metadata-Version: 2.1\nName: shelf\nVersion: 1\n")
    (described / "entry_points.txt").write_text("[vitlens.sources]\nshelf = shelf:find\n")
    monkeypatch.syspath_prepend(site)


def test_a_foundation_beside_the_lens_is_found(tmp_path, tiny_open_clip):
    foundation = load_foundation(tiny_open_clip)
    lens = _write_lens(tmp_path, "point_cloud", foundation)
    described = {"spec": tiny_open_clip, "embed_dim": 12, "image_size_px": 32}
    described["digest"] = foundation.digest()
    (tmp_path / "foundation.json").write_text(json.dumps(described))
    found = vitlens_core.load(lens).encode({"text": ["a chair"]})["text"]
    torch.testing.assert_close(found, foundation.encode_text(["a chair"]))


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("nowhere.safetensors", "no checkpoint at nowhere"),
        (
            "smb:/point",
            r"can open smb:/.*models:/ needs .*vitlens\[pipelines",
        ),
        (".", r"holds no lens\.safetensors"),
    ],
)
def test_sources_that_lead_nowhere_are_named(source, words, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=words):
        vitlens_core.load(source)


def test_options_of_the_other_kind_are_refused(lenses):
    with pytest.raises(ConfigError, match="`config` is for published"):
        vitlens_core.load(lenses[0], foundation=FOUNDATION, config={})
    with pytest.raises(ConfigError, match="`foundation` is for lens"):
        vitlens_core.load(PARITY / "weights.safetensors", foundation=FOUNDATION)
    with pytest.raises(ConfigError, match="must all be lenses; found lens, vitlens"):
        vitlens_core.load(lenses[0], PARITY / "weights.safetensors", foundation=FOUNDATION)
    with pytest.raises(ConfigError, match="nothing to load"):
        vitlens_core.load()


def test_a_foundation_alone_has_its_own_modalities():
    model = vitlens_core.load(foundation=FOUNDATION)
    assert model.modalities == ["image", "video", "text"]
    texts = ["a chair", "a lamp"]
    torch.testing.assert_close(model.encode({"text": texts})["text"], FOUNDATION.encode_text(texts))
    with pytest.raises(ConfigError, match="save_pretrained writes one lens"):
        model.save_pretrained("nowhere")
    with pytest.raises(ConfigError, match="cannot encode audio"):
        vitlens_core.load(foundation=FOUNDATION, modalities=["audio"])


def test_projections_that_were_never_fitted_are_no_foundation(tiny_lit):
    with pytest.raises(ConfigError, match="no fitted projections: give the folder"):
        vitlens_core.load(foundation=tiny_lit)


# --- load: published checkpoints ----------------------------------------------------------------


def _write_vitlens(folder: Path) -> tuple[Path, dict]:
    """The tiny towers with CLIP's whole vocabulary, random weights."""
    config = json.loads((PARITY / "config.json").read_text())
    config["text"]["vocab_size"] = 49408
    config["eeg"] |= {"chans": 4, "time_len": 40}
    torch.manual_seed(0)
    towers = build_towers(config)
    weights = {f"vitlens.{n}.{k}": v for n, t in towers.items() for k, v in t.state_dict().items()}
    save_file({k: v.contiguous() for k, v in weights.items()}, folder / "vitlens.safetensors")
    return folder / "vitlens.safetensors", config


def _full_size(name: str) -> np.ndarray:
    rng = np.random.default_rng(0)
    shapes = {"audio": (20_000,), "point_cloud": (8200, 6), "eeg": (4, 500), "imu": (6, 2100)}
    if name in shapes:
        return rng.random(shapes[name], dtype=np.float32)
    return raws(name, 1)[0]


def test_a_vitlens_checkpoint_encodes_every_modality_it_holds(tmp_path):
    path, config = _write_vitlens(tmp_path)
    model = vitlens_core.load(path, config=config)
    assert set(model.modalities) == {
        *("audio", "depth", "eeg", "image", "point_cloud", "tactile", "text", "video")
    }
    found = model.encode({name: [_full_size(name)] for name in model.modalities})
    for embeddings in found.values():
        assert embeddings.shape == (1, 32)
        torch.testing.assert_close(embeddings.norm(dim=-1), torch.ones(1))
    assert model.calibrated(model.similarity(found["audio"], found["text"])).temperature == 0.01
    chosen = vitlens_core.load(path, config=config, modalities=["video", "eeg"])
    assert set(chosen.modalities) == {"video", "eeg"}
    again = chosen.encode({"eeg": [_full_size("eeg")]})["eeg"]
    torch.testing.assert_close(again, found["eeg"])


def test_a_checkpoint_without_its_config_says_what_does_not_fit():
    with pytest.raises(CheckpointError, match="of another shape"):
        vitlens_core.load(PARITY / "weights.safetensors", modalities=["depth"])


def test_text_of_another_vocabulary_is_refused():
    with pytest.raises(ConfigError, match="vocabulary of 49408; the config states 512"):
        vitlens_core.load(PARITY / "weights.safetensors", config=PARITY / "config.json")


def test_an_imagebind_checkpoint_is_recognised_and_loaded_in_part(tmp_path):
    config = json.loads((PARITY / "imagebind_config.json").read_text())
    torch.manual_seed(0)
    weights = build_imagebind(config).state_dict()
    torch.save(weights, tmp_path / "imagebind.pth")
    model = vitlens_core.load(tmp_path / "imagebind.pth", config=config)
    assert set(model.modalities) == {
        *("audio", "depth", "image", "imu", "text", "thermal", "video")
    }
    found = model.encode({name: [_full_size(name)] for name in model.modalities})
    for embeddings in found.values():
        torch.testing.assert_close(embeddings.norm(dim=-1), torch.ones(1))
    similarities = model.similarity(found["imu"], found["text"])
    assert model.calibrated(similarities, "imu").temperature == pytest.approx(1 / 5)
    imu = vitlens_core.load(tmp_path / "imagebind.pth", config=config, modalities=["imu"])
    assert imu.modalities == ["imu"]
    again = imu.encode({"imu": [_full_size("imu")]})["imu"]
    torch.testing.assert_close(again, found["imu"])


def test_the_openshape_tower_sees_its_protocol(monkeypatch):
    path, config = PARITY / "pnsa_weights.safetensors", PARITY / "pnsa_config.json"
    with pytest.raises(ConfigError, match="needs `config`"):
        vitlens_core.load(path)
    model = vitlens_core.load(path, config=config)
    cloud = np.random.default_rng(0).random((10_000, 6), dtype=np.float32)
    from vitlens_core.modalities.point_cloud import OPENSHAPE, PointCloudSignal

    signal = PointCloudSignal(points=10_000)
    seen = OPENSHAPE.prepare(torch.from_numpy(signal.store(cloud))[None], signal)
    expected = F.normalize(load_openshape_tower(path, config)(seen), dim=-1).detach()
    torch.testing.assert_close(model.encode({"point_cloud": [cloud]})["point_cloud"], expected)


def test_a_file_of_other_tensors_is_refused(tmp_path):
    save_file({"conv.weight": torch.zeros(2)}, tmp_path / "other.safetensors")
    (tmp_path / "broken.safetensors").write_bytes(b"<html>404</html>")
    with pytest.raises(CheckpointError, match=r"neither.*tensors begin with conv\.weight"):
        vitlens_core.load(tmp_path / "other.safetensors")
    with pytest.raises(CheckpointError, match="not a safetensors file"):
        vitlens_core.load(tmp_path / "broken.safetensors")


# --- another preparation ----------------------------------------------------------------------


def test_another_preparation_has_the_same_weights(model):
    sounds = raws("audio", 2)
    clips = model.settings("audio")["clips"]
    more = model.adjusted("audio", clips=clips + 3)
    assert (model.settings("audio")["clips"], more.settings("audio")["clips"]) == (clips, clips + 3)
    assert more.modalities == model.modalities
    assert more.temperature("audio") == model.temperature("audio")
    ours, theirs = (m.encode({"audio": sounds})["audio"] for m in (model, more))
    assert not torch.allclose(ours, theirs)
    again = more.adjusted("audio", clips=clips).encode({"audio": sounds})["audio"]
    torch.testing.assert_close(again, ours)


def test_a_preparation_that_does_not_exist_is_refused(model):
    with pytest.raises(ConfigError, match="clipz"):
        model.adjusted("audio", clipz=2)
    with pytest.raises(ConfigError, match="greater than or equal to 1"):
        model.adjusted("audio", clips=0)
    with pytest.raises(ConfigError, match="the foundation encodes it"):
        model.adjusted("text", clips=2)
    assert model.settings("text") == {}
