"""Finds in a picture what a sound, an object or a word means.

    found = model.detect("scene.png", {"audio": ["bark.wav"], "text": ["a lamp"]}, by="owl folder")

detections.py    boxes with scores, overlaps, average precision
owl.py           OWL-ViT and OWLv2
windows.py       any foundation, without a detector: windows of the picture are embedded
clip_vectors.py  the classifier of detectors that take CLIP vectors (Detic)
drawing.py       a picture with its boxes
"""

from __future__ import annotations

from pathlib import Path

from vitlens_core.extras import require
from vitlens_core.plugins import opening
from vitlens_core.plugins.detect.owl import OwlDetector

__all__ = ["DETECTORS", "kind_of", "open_detector"]

# By type of model: the class of transformers that holds it.
DETECTORS = {"owlvit": "OwlViTForObjectDetection", "owlv2": "Owlv2ForObjectDetection"}

_OTHERWISE = "Detectors that fuse the words of a query early (GroundingDINO) take no embedding"


def kind_of(source: str | Path) -> str:
    """Tell the type of a detector by its config; nothing of it is loaded.

    Raises:
        ConfigError: transformers is not installed, or it is no detector that takes embeddings.
    """
    return opening.kind_of(source, DETECTORS, "detect", "a detector", _OTHERWISE)


def open_detector(source: str | Path, device: str = "cpu") -> OwlDetector:
    """Open a detector from a folder or a name on the hub; safetensors only, strictly.

    Raises:
        ConfigError: as `kind_of`.
        CheckpointError: its weights do not fit its config.
    """
    kind = kind_of(source)
    transformers = require("transformers", "detect", "a detector")
    source = str(source).removeprefix("hf:")
    model = opening.opened(getattr(transformers, DETECTORS[kind]), source, "float32").to(device)
    processor = transformers.AutoImageProcessor.from_pretrained(source, trust_remote_code=False)
    return OwlDetector(source, kind, model, processor)
