"""model_card: what a registered lens is, for whoever thinks of using it.

Reads     the artifacts a lens was made of: shards (what it was trained on, and its licences),
          foundation, lens, evaluation.
Writes    README.md with the metadata that Hugging Face's hub reads.
Promises  every figure is the evaluation's, with its interval; generated recordings are named so.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jinja2

from pipelines.store.artifacts import Artifact
from vitlens_core import modalities
from vitlens_core.model_files import FOUNDATION_FILE, LENS_FILE

_TEMPLATES = Path(__file__).parent
_FIGURES = {"top1": "top-1", "top3": "top-3", "top5": "top-5", "class_mean": "class mean"}
_RECALLS = {"r1": "R@1", "r5": "R@5", "r10": "R@10"}
_UNSTATED = "not stated"


def write(artifacts: Mapping[str, Artifact]) -> str:
    """The card as Markdown. `artifacts` by step, with shards, foundation, lens, evaluation."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES),
        autoescape=False,  # noqa: S701  Markdown, of our own facts
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    return environment.get_template("model_card.md.j2").render(facts(artifacts))


def facts(artifacts: Mapping[str, Artifact]) -> dict[str, Any]:
    """What the card states."""
    metrics = artifacts["evaluation"].read_json("metrics.json")
    foundation = artifacts["foundation"].read_json(FOUNDATION_FILE)
    samples, licences = _trained_on(artifacts["shards"])
    source = artifacts.get("source")
    return {
        "modality": metrics["modality"],
        "words": metrics["modality"].replace("_", " "),
        "describes": (modalities.load(metrics["modality"]).__doc__ or "").splitlines()[0],
        "foundation": foundation,
        "file": LENS_FILE,
        "samples": dict(sorted(samples.items())),
        "licences": licences.most_common(),
        "data": source.manifest.config.get("kind", "a data set") if source else "rendered objects",
        "is_generated": bool(source and source.manifest.config.get("generated")),
        "supervision": ", ".join(metrics["supervision"]),
        "emergent": metrics["emergent"],
        "held_out": metrics["zero_shot"]["n"],
        "chance": metrics["zero_shot"]["chance"],
        "classes": metrics["classes"],
        "scores": list(_scores(metrics)),
        "score_names": list(_FIGURES.values()),
        "recalls": list(_recalls(metrics)),
        "recall_names": list(_RECALLS.values()),
        "calibration": metrics.get("calibration"),
        "evaluation": artifacts["evaluation"].fingerprint,
    }


def _trained_on(shards: Artifact) -> tuple[Counter[str], Counter[str]]:
    """Samples of each split, and of each licence among those trained on."""
    samples: Counter[str] = Counter()
    licences: Counter[str] = Counter()
    for path in shards.shards():
        for sample in shards.read(path, only=("json",)):
            described = json.loads(sample["json"])
            samples[described["split"]] += 1
            if described["split"] == "train":
                licences[described.get("licence") or _UNSTATED] += 1
    return samples, licences


def _scores(metrics: Mapping[str, Any]) -> Iterator[list[str]]:
    titles = {
        "zero_shot": "this lens",
        "teacher_zero_shot": "its teacher",
        "foundation_image_zero_shot": "the foundation, on images",
    }
    for key, title in titles.items():
        if key in metrics:
            yield [title, *(_with_interval(metrics[key], name) for name in _FIGURES)]


def _recalls(metrics: Mapping[str, Any]) -> Iterator[list[str]]:
    for name, found in metrics["retrieval"].items():
        yield [name.replace("_", " "), *(_with_interval(found, rank) for rank in _RECALLS)]


def _with_interval(scores: Mapping[str, Any], name: str) -> str:
    low, high = scores["ci95"][name]
    return f"{scores[name]:.3f} ({low:.2f}–{high:.2f})"
