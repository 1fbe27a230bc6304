"""ImageNet-EEG: what 128 electrodes record while people look at pictures.

Reads     one .pth of recordings, one .pth of splits, and the pictures.
Promises  only pickled tensors, numbers, texts, lists and dictionaries are opened; the recordings
          are opened once per process, and memory-mapped if the file allows it.
"""

from __future__ import annotations

import pickle
import zipfile
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np
from pydantic import Field

from pipelines.source.base import Pair, SourceSettings
from pipelines.store.splits import SPLITS, Split
from vitlens_core.errors import ConfigError, InputError
from vitlens_core.late import torch
from vitlens_core.modalities.base import Modality
from vitlens_core.modalities.eeg import at_1_khz

RATE_HZ = 1000.0
SHORTEST, LONGEST = 450, 600  # samples; the publishers' own filter
PICTURES = "imageNet_images"
_LICENCE = "ImageNet terms of access (pictures); none stated (EEG)"

WORDS = {
    "n02106662": "german shepherd",
    "n02124075": "egyptian cat",
    "n02281787": "lycaenid",
    "n02389026": "sorrel",
    "n02492035": "capuchin",
    "n02504458": "african elephant",
    "n02510455": "giant panda",
    "n02607072": "anemone fish",
    "n02690373": "airliner",
    "n02906734": "broom",
    "n02951358": "canoe",
    "n02992529": "cellular telephone",
    "n03063599": "coffee mug",
    "n03100240": "convertible",
    "n03180011": "desktop computer",
    "n03197337": "digital watch",
    "n03272010": "electric guitar",
    "n03272562": "electric locomotive",
    "n03297495": "espresso maker",
    "n03376595": "folding chair",
    "n03445777": "golf ball",
    "n03452741": "grand piano",
    "n03584829": "iron",
    "n03590841": "jack-o'-lantern",
    "n03709823": "mailbag",
    "n03773504": "missile",
    "n03775071": "mitten",
    "n03792782": "mountain bike",
    "n03792972": "mountain tent",
    "n03877472": "pajama",
    "n03888257": "parachute",
    "n03982430": "pool table",
    "n04044716": "radio telescope",
    "n04069434": "reflex camera",
    "n04086273": "revolver",
    "n04120489": "running shoe",
    "n07753592": "banana",
    "n07873807": "pizza",
    "n11939491": "daisy",
    "n13054560": "bolete",
}
"""The 40 synsets of the data set; words as ViT-Lens evaluates with, in lower case."""


class Recording(NamedTuple):
    """One picture seen once."""

    number: int
    """its place in the file"""
    eeg: torch.Tensor
    """[128, time] at 1 kHz"""
    image: str
    synset: str
    subject: int


class ImagenetEeg(SourceSettings):
    """ImageNet-EEG (Spampinato et al.): 6 people, 40 classes of 50 pictures, 0.5 s each.

    Layout:

        eeg_5_95_std.pth                  torch: {"dataset": 11,965 × {"eeg": [128, 491..1527],
          (or 14_70, 55_95)                 "image": int, "label": int, "subject": 1..6},
                                            "labels": 40 synsets, "images": 1,996 file stems}
        block_splits_by_image_all.pth     torch: {"splits": 6 × {"train", "val", "test"}}, numbers
                                            of recordings
        block_splits_by_image_single.pth  the same for one person: numbers among their recordings
        imageNet_images/<synset>/<stem>.JPEG

    The published files are of torch's old format, which is read whole, 3.1 GB for each process;
    `torch.save(torch.load(path, weights_only=True), path)` once, and they are memory-mapped.

    Licence: the EEG states none (cite the papers); the pictures are ImageNet's, for
    non-commercial research. Source: arXiv 1609.00344; Palazzo et al., TPAMI 2020;
    github.com/perceivelab/eeg_visual_classification.

    Protocol, as ViT-Lens has it: 5–95 Hz, all people, split 0, recordings of 450 to 600 samples
    only (samples 20 to 459 are then kept), "an image of {synset}.", validation and test apart.
    A known confound: every class was shown as one block, and training and test recordings come
    from the same block, so that slow drifts of the recording give the class away (Li et al.,
    "The Perils and Pitfalls of Block Design", TPAMI 2021; answered in arXiv 2012.03849). High
    figures here do not show that pictures are read from EEG. Recordings that the split does not
    name are left out.
    """

    modalities: ClassVar[tuple[str, ...]] = ("eeg",)

    kind: Literal["imagenet_eeg"] = "imagenet_eeg"
    band: Literal["5_95", "14_70", "55_95"] = Field("5_95", description="filtered to, Hz")
    subject: int = Field(0, ge=0, le=6, description="one person only; 0 takes all six")
    split: int = Field(0, ge=0, description="which of the published splits")

    def pairs(self) -> Iterator[Pair]:
        """Recordings in the order of the file. Raises ConfigError."""
        folder = self.folder()
        recordings = [
            recording
            for recording in _recordings(folder / self._signals)
            if self.subject in (0, recording.subject)
        ]
        splits = folder / f"block_splits_by_image_{'single' if self.subject else 'all'}.pth"
        sides = _sides(splits, self.split, len(recordings))
        for place, recording in enumerate(recordings):
            if place in sides and SHORTEST <= recording.eeg.shape[1] <= LONGEST:
                yield self._pair(recording, sides[place])

    def read(self, pair: Pair, modality: Modality) -> np.ndarray:
        """[128, time] at 1 kHz. Raises InputError."""
        recordings = _recordings(self.place(pair.signal))
        number = pair.reader_options["recording"]
        if number >= len(recordings):
            raise InputError(
                f"expected recording {number} in {pair.signal}, found {len(recordings)} recordings"
            )
        return at_1_khz(recordings[number].eeg.numpy(), RATE_HZ)

    @property
    def _signals(self) -> str:
        return f"eeg_{self.band}_std.pth"

    def _pair(self, recording: Recording, side: Split) -> Pair:
        return Pair(
            key=f"recording-{recording.number:05d}",
            signal=self._signals,
            reader_options={"recording": recording.number},
            images=(f"{PICTURES}/{recording.synset}/{recording.image}.JPEG",),
            label=WORDS[recording.synset],
            split=side,
            group=recording.image,
            name=f"{recording.image}, subject {recording.subject}",
            licence=None if self.generated else _LICENCE,
            creator=None if self.generated else "PeRCeiVe Lab, University of Catania",
        )


@lru_cache(maxsize=1)  # one file holds every recording
def _recordings(path: Path) -> list[Recording]:
    content = _loaded(path)
    if missing := {"dataset", "labels", "images"} - content.keys():
        raise ConfigError(f"{path}: expected {', '.join(sorted(missing))}, found {list(content)}")
    if unknown := set(content["labels"]) - WORDS.keys():
        raise ConfigError(f"{path}: labels {sorted(unknown)} are none of the 40 classes")
    return [
        _recording(number, entry, content["labels"], content["images"], path)
        for number, entry in enumerate(content["dataset"])
    ]


def _recording(
    number: int, entry: Any, labels: list[str], images: list[str], path: Path
) -> Recording:
    where = f"{path}, recording {number}:"
    try:
        eeg, subject = entry["eeg"], int(entry["subject"])
        label, image = int(entry["label"]), int(entry["image"])
    except (KeyError, TypeError, ValueError) as error:
        raise ConfigError(
            f"{where} expected eeg, image, label and subject, found {error!r}"
        ) from error
    if not isinstance(eeg, torch.Tensor) or eeg.ndim != 2:
        raise ConfigError(f"{where} expected a tensor [128, time] of eeg, found {type(eeg)}")
    if not (0 <= label < len(labels) and 0 <= image < len(images)):
        raise ConfigError(
            f"{where} expected label 0..{len(labels) - 1} and image 0..{len(images) - 1}, found "
            f"{label} and {image}"
        )
    synset, stem = labels[label], images[image]
    if stem.split("_")[0] != synset:
        raise ConfigError(f"{where} its label is {synset}, but its image is {stem}")
    return Recording(number, eeg, stem, synset, subject)


def _sides(path: Path, split: int, recordings: int) -> dict[int, Split]:
    """The side of each recording that the split names."""
    splits = _loaded(path).get("splits")
    if not isinstance(splits, list) or not splits:
        raise ConfigError(f'{path}: expected a list "splits"')
    if split >= len(splits):
        raise ConfigError(f"source.split: expected 0..{len(splits) - 1} for {path}, found {split}")
    where = f"{path}, split {split}"
    sides: dict[int, Split] = {}
    for side in SPLITS:
        if side not in splits[split]:
            raise ConfigError(f"{where}: expected train, val and test, found {list(splits[split])}")
        for number in map(int, splits[split][side]):
            if not 0 <= number < recordings:
                raise ConfigError(
                    f"{where}, {side}: there is no recording {number}; found {recordings}, "
                    "counted from 0"
                )
            if number in sides:
                raise ConfigError(f"{where}: recording {number} is in {sides[number]} and {side}")
            sides[number] = side
    return sides


def _loaded(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise ConfigError(f"source.root: no file {path}; name the folder of imagenet_eeg")
    try:
        content = torch.load(
            path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path)
        )
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError) as error:
        raise ConfigError(
            f"{path} cannot be read as torch's tensors, numbers, texts, lists and dictionaries: "
            f"{error}"
        ) from error
    if not isinstance(content, dict):
        raise ConfigError(f"{path}: expected a dictionary, found {type(content).__name__}")
    return content
