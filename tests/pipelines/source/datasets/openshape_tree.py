"""OpenShape's training data as a small tree in exactly the published format."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np

from pipelines.source.datasets.openshape import SETS, OpenShape
from vitlens_core.foundation import load_foundation

POINTS, VIEWS = 64, 3
PREFIX = "/mnt/data/objaverse-processed/merged_for_training_final"
LABELS = ("bus_(vehicle)", "chair")
Embed = Callable[[str], np.ndarray]


def random_embed(text: str) -> np.ndarray:
    return np.random.default_rng(crc32(text.encode())).normal(size=(1, 8)).astype(np.float32)


class Tree:
    """Writes the tree; pickles are written here only."""

    def __init__(self, root: Path, embed: Embed = random_embed) -> None:
        self.root, self.embed = root, embed
        self.train: dict[str, list[dict[str, str]]] = {"all": [], "no_lvis": []}
        self.lvis: list[dict[str, str]] = []
        self.filter: dict[str, dict[str, str]] = {}

    def _features(self, text: str) -> dict[str, np.ndarray]:
        original = self.embed(text) * 3  # published ones have no unit norm
        return {"original": original, "prompt_avg": original + self.embed(f"a photo of {text}")}

    def add(self, dataset: str, uid: str, label: str = "", **changed: Any) -> dict[str, Any]:
        group = "000-012" if dataset == "Objaverse" else dataset.lower()
        rng = np.random.default_rng(len(self.train["all"]))
        names = [f"a {uid} of {dataset}", f"{uid} again"]
        described: dict[str, Any] = {
            "dataset": dataset,
            "group": group,
            "id": uid,
            "xyz": rng.uniform(-1, 1, (POINTS, 3)).astype(np.float32) * [1, 2, 1],
            "rgb": rng.uniform(0, 1, (POINTS, 3)).astype(np.float32),
            "image_feat": np.concatenate([self.embed(f"view {n} {uid}") for n in range(VIEWS)]),
            "text": names,
            "text_feat": [self._features(name) for name in names],
            "blip_caption": f"blip sees {uid}",
            "blip_caption_feat": self._features(f"blip sees {uid}"),
            "msft_caption": f"azure sees {uid}",
            "msft_caption_feat": self._features(f"azure sees {uid}"),
            "retrieval_text": [f"found {n} {uid}" for n in range(2)],
            "retrieval_text_feat": [self._features(f"found {n} {uid}") for n in range(2)],
        }
        if dataset == "Objaverse":
            described["thumbnail_feat"] = self.embed(f"thumbnail {uid}")
            self.filter[uid] = {"flag": "Y", "reason": ""}
        described |= changed
        place = self.root / dataset / group / f"{uid}.npy"
        place.parent.mkdir(parents=True, exist_ok=True)
        np.save(place, np.array(described, dtype=object), allow_pickle=True)
        entry = {"id": uid, "dataset": dataset, "group": group}
        entry["data_path"] = f"{PREFIX}/{dataset}/{group}/{uid}.npy"
        self.train["all"].append(entry)
        if label:
            named = {"uid": uid, "category": label, "group": group}
            self.lvis.append({**named, "data_path": entry["data_path"]})
        else:
            self.train["no_lvis"].append(entry)
        return described

    def write(self) -> OpenShape:
        split = self.root / "meta_data" / "split"
        split.mkdir(parents=True)
        for name, entries in self.train.items():
            (split / f"train_{name}.json").write_text(json.dumps(entries))
        (split / "lvis.json").write_text(json.dumps(self.lvis))
        (self.root / "meta_data" / "gpt4_filtering.json").write_text(json.dumps(self.filter))
        return OpenShape(root=str(self.root))


def whole(tree: Tree) -> OpenShape:
    """Objects of all four data sets; of Objaverse, labelled ones too."""
    for dataset in SETS:
        for number in range(4):
            tree.add(dataset, f"{dataset.lower()}-{number}")
    for label in LABELS:
        for number in range(3):
            tree.add("Objaverse", f"{label[:3]}{number}", label)
    return tree.write()


def embed_by(spec: str) -> Embed:
    """A CLIP's embeddings of texts as the published files have them, [1, E]."""
    model = load_foundation(spec, None, None)
    known: dict[str, np.ndarray] = {}

    def embed(text: str) -> np.ndarray:
        if text not in known:
            known[text] = model.encode_text([text]).numpy()
        return known[text]

    return embed
