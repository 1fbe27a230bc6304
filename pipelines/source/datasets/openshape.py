"""openshape: OpenShape's triplets of four data sets, with ready-made embeddings."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any, ClassVar, Literal

import numpy as np
from pydantic import Field, PrivateAttr

from pipelines.source.base import Pair, Ready, SourceSettings
from pipelines.store.keys import plain_key
from pipelines.store.tables import Row, rows
from pipelines.store.words import caption, word
from vitlens_core.errors import BadSampleError, ConfigError, InputError, unknown
from vitlens_core.modalities.base import Modality
from vitlens_core.readers.pickled import read_npy

OBJAVERSE = "Objaverse"
SETS = (OBJAVERSE, "ShapeNet", "3D-FUTURE", "ABO")
_CLIP = "open_clip:ViT-bigG-14/laion2b_s39b_b160k"
_DROPPED = "N"  # what the filter says of a name that names nothing
_IS_NAMED = "named"

Described = dict[str, Any]


class OpenShape(SourceSettings):
    """OpenShape's training data: 876,000 objects of Objaverse, ShapeNet, 3D-FUTURE and ABO.

    Points, captions and ready-made embeddings: nothing is fetched, rendered or encoded.

    Layout: `root` holds the unpacked archives and meta_data.zip.

        meta_data/split/train_all.json, train_no_lvis.json  [{"id", "dataset", "group",
                                                            "data_path"}, …]
        meta_data/split/lvis.json                           the same with "uid" and "category"
        meta_data/gpt4_filtering.json                       {id: {"flag": "N" or "Y", …}}
        Objaverse/<group>/<id>.npy, ShapeNet/…, …           a pickled dictionary: xyz [N, 3] (y
                                                            up), rgb [N, 3] in 0..1, image_feat
                                                            [V, E], thumbnail_feat, text, …

    Of a `data_path`, only what follows the data set's name is used. Captions are drawn as the
    authors do: one of the name (of Objaverse only if the filter keeps it), a machine's caption
    (BLIP's or Azure's, half and half) and a retrieved text; the name and the machine's captions by
    their mean over prompts, the retrieved text by its own embedding. Images of Objaverse are the
    thumbnail half of the time. An object without any text is left out.

    With `train: no_lvis`, the objects of Objaverse-LVIS are the test split. With `train: all` they
    are trained on, so that a part of all objects is held out instead.

    Licence: Objaverse ODC-BY (each object its own), ShapeNet's and 3D-FUTURE's terms (research),
    ABO CC BY-NC 4.0. Source: Liu et al. (arXiv 2305.10764).
    """

    modalities: ClassVar[tuple[str, ...]] = ("point_cloud",)

    kind: Literal["openshape"] = "openshape"
    train: Literal["all", "no_lvis"] = Field(
        "no_lvis", description="which of the published lists is trained on"
    )
    datasets: tuple[str, ...] = Field(SETS, min_length=1, description="data sets that are used")
    text_sources: tuple[Literal["text", "caption", "retrieval_text"], ...] = Field(
        ("text", "caption", "retrieval_text"), description="which texts are used"
    )
    filter_names: bool = Field(
        True, description="drop names that meta_data/gpt4_filtering.json drops"
    )
    clip: str = Field(
        _CLIP, description="the CLIP of the embeddings: a foundation's spec, or its digest"
    )

    _last: tuple[str, Described] | None = PrivateAttr(None)

    @property
    def embeddings_of(self) -> str:
        return self.clip

    @property
    def trains_on_lvis(self) -> bool:
        return self.train == "all" and OBJAVERSE in self.datasets

    def pairs(self) -> Iterator[Pair]:
        """Every object of the lists. Raises ConfigError."""
        lists = self.folder() / "meta_data"
        if not lists.is_dir():
            raise ConfigError(f"source.root: no folder {lists}; unpack meta_data.zip there")
        if strange := sorted(set(self.datasets) - set(SETS)):
            raise ConfigError(unknown("data set", strange[0], SETS))
        categories = self._categories(lists / "split" / "lvis.json")
        dropped = self._dropped(lists / "gpt4_filtering.json")
        held_out = self.train == "no_lvis"
        for number, row in rows(lists / "split" / f"train_{self.train}.json"):
            pair = self._pair(row, number, dropped, categories)
            if pair is None:
                continue
            if held_out and pair.label is not None:
                raise ConfigError(
                    f"train_no_lvis.json, entry {number}: {pair.key} is in lvis.json too"
                )
            yield replace(pair, split="train") if held_out else pair
        if held_out and OBJAVERSE in self.datasets:
            for number, row in rows(lists / "split" / "lvis.json"):
                entry = {"dataset": OBJAVERSE, "id": row.get("uid"), **row}
                pair = self._pair(entry, number, dropped, categories)
                if pair is not None:
                    yield replace(pair, split="test")

    def read(self, pair: Pair, modality: Modality) -> np.ndarray:
        """The points with their colours, [N, 6]. Raises InputError."""
        described = self._described(pair)
        xyz, rgb = (_array(described, name, pair) for name in ("xyz", "rgb"))
        if xyz.shape != rgb.shape or xyz.ndim != 2 or xyz.shape[1:] != (3,):
            raise InputError(
                f"{pair.signal}: expected xyz and rgb [N, 3], found {list(xyz.shape)} and "
                f"{list(rgb.shape)}"
            )
        if not np.isfinite(rgb).all() or rgb.min(initial=0) < 0 or rgb.max(initial=0) > 1:
            raise InputError(f"{pair.signal}: expected rgb in 0..1")
        return np.concatenate([xyz, rgb], axis=1).astype(np.float32)

    def ready(self, pair: Pair) -> Ready:
        """The captions and all embeddings. Raises InputError, BadSampleError without a text."""
        described = self._described(pair)
        captions, features, weights = self._texts(described, pair)
        if not captions:
            raise BadSampleError(f"{pair.signal}: no text of {', '.join(self.text_sources)}")
        images = np.atleast_2d(_array(described, "image_feat", pair))
        even = (1.0,) * len(images)
        if pair.reader_options["dataset"] == OBJAVERSE:
            thumbnail = _array(described, "thumbnail_feat", pair).reshape(1, -1)
            if len(images) == 0 or thumbnail.shape[1] != images.shape[1]:
                raise InputError(f"{pair.signal}: thumbnail_feat and image_feat do not fit")
            images = np.concatenate([images, thumbnail])
            even = (*even, float(len(even)))  # half of the time
        embeddings = {"image": images, "text": np.stack(features)}
        return Ready(tuple(captions), embeddings, {"image": even, "text": tuple(weights)})

    def _described(self, pair: Pair) -> Described:
        """Return the dictionary of a file, which `read` and `ready` share."""
        if self._last is None or self._last[0] != pair.signal:
            content = read_npy(self.place(pair.signal))
            item = content.item() if content.shape == () else None
            if not isinstance(item, dict):
                raise InputError(f"{pair.signal}: expected a dictionary, found {content.dtype}")
            self._last = pair.signal, item
        return self._last[1]

    def _texts(
        self, described: Described, pair: Pair
    ) -> tuple[list[str], list[np.ndarray], list[float]]:
        """Return captions, their embeddings [E], and how often each is drawn."""
        names = self._named(described, pair)
        machines = [
            _one(described, f"{name}_caption", "prompt_avg", pair)
            for name in ("blip", "msft")
            if "caption" in self.text_sources
        ]
        retrieved = []
        if "retrieval_text" in self.text_sources:
            retrieved = _several(described, "retrieval_text", "original", pair)
        weights = draw_weights(len(names), [m is not None for m in machines], len(retrieved))
        found = [*names, *(m for m in machines if m is not None), *retrieved]
        return [text for text, _ in found], [feature for _, feature in found], weights

    def _named(self, described: Described, pair: Pair) -> list[tuple[str, np.ndarray]]:
        if "text" not in self.text_sources or not pair.reader_options[_IS_NAMED]:
            return []
        names = _several(described, "text", "prompt_avg", pair)
        return names[:1] if pair.reader_options["dataset"] == OBJAVERSE else names

    def _pair(
        self, row: Row, number: int, dropped: set[str], categories: dict[str, str]
    ) -> Pair | None:
        """Make the pair of an entry; None if its data set is not used."""
        uid, dataset, place = (word(row.get(name)) for name in ("id", "dataset", "data_path"))
        if not uid or dataset not in SETS or not place:
            raise ConfigError(
                f"{self.train}, entry {number}: expected id, data_path and dataset (one of "
                f"{', '.join(SETS)}), found {dict(row)!r:.200}"
            )
        if dataset not in self.datasets:
            return None
        is_objaverse = dataset == OBJAVERSE
        return Pair(
            key=plain_key(uid if is_objaverse else f"{dataset}-{uid}"),
            signal=_inside(place, dataset, number),
            reader_options={"dataset": dataset, _IS_NAMED: not (is_objaverse and uid in dropped)},
            label=categories.get(uid) if is_objaverse else None,
            name=uid,
        )

    def _categories(self, path: Path) -> dict[str, str]:
        """Return the LVIS category of every labelled object, by id."""
        found = {}
        for number, row in rows(path):
            uid, category = word(row.get("uid")), word(row.get("category"))
            if not uid or not category:
                raise ConfigError(f"{path}, entry {number}: expected uid and category")
            found[uid] = category.replace("_", " ")
        return found

    def _dropped(self, path: Path) -> set[str]:
        if not self.filter_names or "text" not in self.text_sources:
            return set()
        return {str(row["id"]) for _, row in rows(path, key="id") if row.get("flag") == _DROPPED}


def draw_weights(names: int, machines: list[bool], retrieved: int) -> list[float]:
    """Return how often each text of an object is drawn: names, machines' captions, retrieved.

    One of the machines is taken by lot, and then one of the kinds that the object has; a machine
    without a caption gives no kind.
    """
    coins = machines or [False]
    of_name = of_retrieved = 0.0
    of_machine = [0.0] * len(coins)
    for number, has_caption in enumerate(coins):
        kinds = (names > 0) + has_caption + (retrieved > 0)
        if not kinds:
            continue
        share = 1 / len(coins) / kinds
        of_name += share
        of_retrieved += share
        of_machine[number] = share * has_caption
    return [
        *[of_name / max(names, 1)] * names,
        *(weight for weight, there in zip(of_machine, coins, strict=True) if there),
        *[of_retrieved / max(retrieved, 1)] * retrieved,
    ]


def _inside(data_path: str, dataset: str, number: int) -> str:
    """Return the place below the root: `/their/disk/Objaverse/g/u.npy` → `Objaverse/g/u.npy`."""
    parts = PurePosixPath(data_path).parts
    if dataset not in parts or ".." in parts:
        raise ConfigError(
            f"entry {number}: expected a data_path …/{dataset}/…/<id>.npy, found {data_path!r}"
        )
    start = len(parts) - 1 - parts[::-1].index(dataset)
    return str(PurePosixPath(*parts[start:]))


def _array(described: Described, name: str, pair: Pair) -> np.ndarray:
    return _vector(described.get(name), f"{pair.signal}: {name}")


def _vector(value: Any, where: str) -> np.ndarray:
    array = np.asarray(value) if value is not None else np.empty(0, object)
    if array.dtype.kind != "f" or not np.isfinite(array).all():
        raise InputError(f"{where}: expected finite numbers, found {array.dtype}")
    return array


def _one(
    described: Described, name: str, version: str, pair: Pair
) -> tuple[str, np.ndarray] | None:
    """Return a text and its embedding [E]; None if the object has none."""
    text = caption(described.get(name))
    if not text:
        return None
    return text, _version(described.get(f"{name}_feat"), version, f"{pair.signal}: {name}_feat")


def _several(
    described: Described, name: str, version: str, pair: Pair
) -> list[tuple[str, np.ndarray]]:
    texts, features = described.get(name) or [], described.get(f"{name}_feat") or []
    if len(texts) != len(features):
        raise InputError(f"{pair.signal}: {len(texts)} of {name}, {len(features)} embeddings")
    return [
        (said, _version(feature, version, f"{pair.signal}: {name}_feat"))
        for text, feature in zip(texts, features, strict=True)
        if (said := caption(text))
    ]


def _version(feature: Any, version: str, where: str) -> np.ndarray:
    if not isinstance(feature, dict) or version not in feature:
        raise InputError(f"{where}: expected a dictionary with {version}")
    return _vector(feature[version], where).reshape(-1)
