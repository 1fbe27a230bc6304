"""AudioSet's evaluation clips with all their labels; layout in `source.datasets.audioset`.

Protocol: mAP over the 527 classes, three clips of 5 s averaged before normalising, on the clips
that could still be fetched. A pair of the source has one label: here the list itself is read.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import numpy as np

from pipelines.benchmarks.base import Benchmark, Example, Mounted, folder_of, left_out, open_reader
from pipelines.source.clips import key_of, take_note
from pipelines.source.datasets.audioset import CLASSES, class_names, clip_path, entries, labels_of
from vitlens_core.confinement import resolve_inside
from vitlens_core.errors import ConfigError

if TYPE_CHECKING:
    from vitlens_core.api.untrusted import UntrustedReader

LIST = "eval_data.json"


def mount(root: str) -> Mounted:
    """Evaluation clips in the list's order. Raises ConfigError."""
    folder = folder_of(root)
    names = class_names(folder / CLASSES)
    seen: dict[str, str] = {}
    reader = open_reader()
    test, absent = [], 0
    for where, entry in entries(folder / LIST):
        clip = clip_path(entry["wav"], folder, where)
        video = PurePosixPath(clip).stem
        take_note(seen, video, where)
        labels = tuple(labels_of(entry["labels"], names, where))
        path = resolve_inside(folder, clip)
        if path.is_file():
            test.append(Example(key_of(video), partial(_read, reader, path), (path,), labels))
        absent += not path.is_file()
    if not test:
        raise ConfigError(f"{folder / LIST}: none of its {absent} clips is there")
    return Mounted(test, classes=tuple(dict.fromkeys(names.values())), notes=left_out(absent))


def _read(reader: UntrustedReader, path: Path) -> dict[str, np.ndarray]:
    return {"audio": reader.read_raw("audio", path)}


BENCHMARKS = (
    Benchmark(
        name="audioset",
        title="AudioSet",
        modality="audio",
        task="multilabel",
        mount=mount,
        protocol="evaluation clips with all labels; 3 clips of 5 s averaged before normalising",
        licence="CC BY 4.0 (labels); recordings are their uploaders'",
        published={"map": {"ViT-Lens-L": 0.267, "ImageBind": 0.176}},
        preparation={"clips": 3},
        expected={"clip_s": 5.0},
    ),
)
