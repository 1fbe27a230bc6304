"""MSR-VTT: captions of short videos of the web, seen and heard.

Expects the list of the 1k-A split and the videos; the sound is cut out by you:

    MSRVTT_JSFUSION_test.csv        key,vid_key,video_id,sentence: 1,000 lines, one caption each
    videos/all/<video_id>.mp4       or videos/<video_id>.mp4
    audio/<video_id>.wav            ffmpeg -i <video_id>.mp4 audio/<video_id>.wav; a video without
                                    sound has none

Protocol: caption → video among the 1,000. A video is the sum of two unit embeddings, its frames'
by the foundation and its sound's by the lens (clips averaged before normalising), normalised; of
the frames alone where there is no sound.

Licence: Microsoft Research's, for research; the videos are their uploaders'.
Source: Xu et al., CVPR 2016; Yu et al., ECCV 2018 (1k-A); ImageBind (arXiv 2305.05665).
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pipelines.benchmarks.base import Benchmark, Example, Mounted, folder_of, open_reader
from pipelines.source.clips import read_rows, take_note
from vitlens_core.confinement import resolve_inside
from vitlens_core.errors import ConfigError

if TYPE_CHECKING:
    from vitlens_core.api.untrusted import UntrustedReader

LIST = "MSRVTT_JSFUSION_test.csv"
COLUMNS = ("key", "vid_key", "video_id", "sentence")
VIDEOS = 1000
_CLIPS = 3


def mount(root: str) -> Mounted:
    """Videos in the list's order. Raises ConfigError."""
    folder = folder_of(root)
    seen: dict[str, str] = {}
    reader = open_reader()
    test = []
    for where, row in read_rows(folder / LIST, COLUMNS):
        name, sentence = row["video_id"], row["sentence"].strip()
        take_note(seen, name, where)
        if not name or Path(name).name != name:
            raise ConfigError(f"{where}: expected a video_id such as video7010, found {name!r}")
        if not sentence:
            raise ConfigError(f"{where}: expected a sentence, found none")
        seen_file = _video(folder, name, where)
        heard_file = resolve_inside(folder, f"audio/{name}.wav")
        files = (seen_file, heard_file) if heard_file.is_file() else (seen_file,)
        test.append(Example(name, partial(_read, reader, *files), files, texts=(sentence,)))
    silent = sum(len(example.files) == 1 for example in test)
    notes = [f"{silent} of {len(test)} videos have no sound file"] if silent else []
    if len(test) != VIDEOS:
        notes.append(f"{len(test)} videos; published figures are of {VIDEOS}")
    return Mounted(test, notes=tuple(notes))


def _video(folder: Path, name: str, where: str) -> Path:
    places = [resolve_inside(folder, f"videos/{part}{name}.mp4") for part in ("all/", "")]
    for path in places:
        if path.is_file():
            return path
    raise ConfigError(f"{where}: no file {places[0]}, nor {places[1]}")


def _read(reader: UntrustedReader, seen: Path, heard: Path | None = None) -> dict[str, np.ndarray]:
    raws = {"video": reader.read_raw("video", seen)}
    return raws | {"audio": reader.read_raw("audio", heard)} if heard else raws


BENCHMARKS = (
    Benchmark(
        name="msrvtt",
        title="MSR-VTT 1k-A",
        modality="audio",
        task="retrieval",
        mount=mount,
        protocol=f"frames and sound ({_CLIPS} clips) fused against captions",
        licence="research only; videos are their uploaders'",
        published={"text_to_video_r1": {"ImageBind": 0.361}},
        preparation={"clips": _CLIPS},
        word="video",
    ),
)
