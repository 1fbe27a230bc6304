"""Ego4D: the IMU of head-worn cameras, with sentences on what their wearers do.

Reads     narration.json, ego4d.json (if there) and the names in v2/imu; later one CSV per video.
Promises  windows around a sentence, acceleration in m/s² and angular rate in rad/s at 400 Hz; a
          video is in one split.
"""

from __future__ import annotations

import math
import re
import string
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np
from pydantic import Field

from pipelines.source.base import Pair, SourceSettings
from vitlens_core import caps
from vitlens_core.errors import ConfigError, InputError
from vitlens_core.modalities.base import Modality
from vitlens_core.modalities.imu import at_400_hz
from vitlens_core.readers.files import optional, unreadable
from vitlens_core.readers.formats import existing

RATE_HZ = 200.0  # nominal; sensors run at 198 to 202 Hz and their clocks jitter
LONGEST_GAP_S = 0.1
CHANNELS = ("accl_x", "accl_y", "accl_z", "gyro_x", "gyro_y", "gyro_z")
TIME = "canonical_timestamp_ms"
_LICENCE = "Ego4D licence agreement"
_FETCH = "fetch it with `ego4d --output_directory=<root> --datasets imu annotations`"
_WEARER = re.compile(r"^(?:#\s*c(?:\s*c)?|c)\b[\s,.]*", re.IGNORECASE)
_UNSURE = re.compile(r"#\s*unsure", re.IGNORECASE)


class Samples(NamedTuple):
    """One video's IMU in order of time."""

    seconds: np.ndarray
    """float64 [time]"""
    values: np.ndarray
    """float32 [time, 6], acceleration first"""


class Ego4dImu(SourceSettings):
    """Ego4D v2, IMU: 5 s around each sentence that says what the wearer does.

    Layout (the output folder of Ego4D's own downloader):

        ego4d.json                      optional: scenarios of each video, which become labels
        v2/annotations/narration.json   {uid: {"narration_pass_1": {"narrations": [
                                          {"timestamp_sec", "narration_text", …}, …]}, …}, …},
                                        or the same under "videos"
        v2/imu/<uid>.csv                component_idx, component_timestamp_ms,
                                        canonical_timestamp_ms (may be NULL), gyro_x…z, accl_x…z
        <frames>/<uid>/000123.jpg       optional, made by you: the frame at second 123
                                        (ffmpeg -i <uid>.mp4 -vf fps=1 -start_number 0 …/%06d.jpg)

    Licence: Ego4D's own agreement, signed before downloading. Source: Grauman et al. (arXiv
    2110.07058); ego4d-data.org/docs/data/imu.

    Protocol: ImageBind (arXiv 2305.05665) trains on clips of 5 s and classifies them by scenario;
    its list of clips is not published, so figures are not comparable. Only the first annotator's
    sentences on the wearer (`#C …`) are used: the sensor does not measure what others (`#O …`)
    do, and the second annotator describes the same moments. Windows overlap if sentences are
    close. Videos without a CSV are skipped. A video has a label if it has exactly one scenario.
    Units are those of the cameras (GoPro: m/s², rad/s; Ego4D states none). The CSVs have known
    faults (missing acceleration, gaps, clocks that jump); such windows are refused when read.
    """

    modalities: ClassVar[tuple[str, ...]] = ("imu",)

    kind: Literal["ego4d_imu"] = "ego4d_imu"
    window_s: float = Field(5.0, gt=0, description="length of a window")
    frames: str | None = Field(
        None, description="folder in root with one frame per second of each video"
    )

    def pairs(self) -> Iterator[Pair]:
        """Windows by video and time. Raises ConfigError."""
        folder = self.folder()
        sensors = folder / "v2" / "imu"
        if not sensors.is_dir():
            raise ConfigError(f"source.root: no folder {sensors}; {_FETCH}")
        sentences = folder / "v2" / "annotations" / "narration.json"
        content = _mapping(sentences)
        narrated = content.get("videos", content)
        uids = sorted(narrated.keys() & {path.stem for path in sensors.glob("*.csv")})
        if not uids:
            raise ConfigError(f"no video of {sensors} has sentences in {sentences}; {_FETCH}")
        scenarios = _scenarios(folder / "ego4d.json")
        for uid in uids:
            moments = _moments(narrated[uid], f"{sentences}, video {uid}")
            for index, (second, texts) in enumerate(moments):
                yield self._pair(uid, index, second, texts, scenarios.get(uid))

    def read(self, pair: Pair, modality: Modality) -> np.ndarray:
        """[6, time] at 400 Hz. Raises InputError: a gap, or numbers that are missing."""
        path = self.place(pair.signal)
        samples = _samples(path)
        start_s = pair.reader_options["start_s"]
        end_s = start_s + self.window_s
        first, last = np.searchsorted(samples.seconds, [start_s, end_s])
        around = slice(max(0, first - 1), last + 1)  # one more at each end, to interpolate from
        seconds, values = samples.seconds[around], samples.values[around]
        _check_covered(seconds, start_s, end_s, path)
        if not np.isfinite(values).all():
            raise InputError(f"{path} has empty cells between {start_s:.2f} and {end_s:.2f} s")
        grid = start_s + np.arange(round(self.window_s * RATE_HZ)) / RATE_HZ
        even = np.stack([np.interp(grid, seconds, channel) for channel in values.T])
        return at_400_hz(even, RATE_HZ)

    def _pair(
        self, uid: str, index: int, second: float, texts: tuple[str, ...], label: str | None
    ) -> Pair:
        frame = f"{self.frames}/{uid}/{max(0, round(second)):06d}.jpg"
        return Pair(
            key=f"{uid}-{index:05d}",
            signal=f"v2/imu/{uid}.csv",
            reader_options={"start_s": max(0.0, second - self.window_s / 2)},
            images=(frame,) if self.frames else (),
            texts=texts,
            label=label,
            group=uid,
            name=texts[0],
            licence=_LICENCE,
        )


def said_of_wearer(sentence: str) -> str:
    """Return a sentence without its tags, or "" if it is not on the wearer.

    "#C C picks a #unsure from the floor." → "picks a something from the floor"
    """
    match = _WEARER.match(sentence.strip())
    if match is None:
        return ""
    said = _UNSURE.sub("something", sentence.strip()[match.end() :])
    return " ".join(said.split()).strip(string.punctuation + " ")


def _moments(video: object, where: str) -> list[tuple[float, tuple[str, ...]]]:
    """Return the sentences on the wearer by time; those of one moment are together."""
    if not isinstance(video, dict):
        raise ConfigError(f"{where}: expected an object, found {type(video).__name__}")
    narration = video.get("narration_pass_1", {"narrations": []})
    if not isinstance(narration, dict) or not isinstance(narration.get("narrations"), list):
        raise ConfigError(f'{where}: expected "narration_pass_1" with a list of "narrations"')
    moments: dict[float, tuple[str, ...]] = {}
    for index, entry in enumerate(narration["narrations"]):
        second, sentence = _second_and_sentence(entry, f"{where}, narration {index}")
        if said := said_of_wearer(sentence):
            moments[second] = tuple(dict.fromkeys((*moments.get(second, ()), said)))
    return sorted(moments.items())


def _second_and_sentence(entry: object, where: str) -> tuple[float, str]:
    fields = entry if isinstance(entry, dict) else {}
    second, sentence = fields.get("timestamp_sec"), fields.get("narration_text")
    is_number = isinstance(second, int | float) and math.isfinite(second)
    if not is_number or not isinstance(sentence, str):
        raise ConfigError(
            f'{where}: expected a number "timestamp_sec" and a text "narration_text", found '
            f"{second!r} and {sentence!r}"
        )
    return float(second), sentence


def _scenarios(path: Path) -> dict[str, str | None]:
    """Return the scenario of each video, None if it has several; nothing without the file."""
    if not path.is_file():
        return {}
    videos = _mapping(path).get("videos")
    if not isinstance(videos, list):
        raise ConfigError(f'{path}: expected a list "videos", found {type(videos).__name__}')
    labels: dict[str, str | None] = {}
    for index, video in enumerate(videos):
        fields = video if isinstance(video, dict) else {}
        uid, scenarios = fields.get("video_uid"), fields.get("scenarios")
        if not isinstance(uid, str) or not isinstance(scenarios, list):
            raise ConfigError(f'{path}, video {index}: expected "video_uid" and "scenarios"')
        if uid in labels:
            raise ConfigError(f"{path}, video {index}: {uid} is listed twice")
        labels[uid] = str(scenarios[0]).replace("_", " ").lower() if len(scenarios) == 1 else None
    return labels


def _mapping(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise ConfigError(f"source.root: no file {path}; {_FETCH}")
    try:
        content = caps.parse_json(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ConfigError(f"{path} is not JSON: {error}; {_FETCH}") from error
    if not isinstance(content, dict):
        raise ConfigError(f"{path}: expected an object, found {type(content).__name__}")
    return content


@lru_cache(maxsize=2)  # a video is read for each of its hundreds of windows
def _samples(path: Path) -> Samples:
    """A video's rows with a time, in order of time."""
    pandas = optional("pandas", extra="datasets")

    existing(path, "a table of IMU samples")
    try:
        table = pandas.read_csv(path, usecols=[TIME, *CHANNELS], dtype=np.float64)
    except ValueError as error:  # pandas' own parser errors too
        raise unreadable(path, f"a CSV with {TIME}, {', '.join(CHANNELS)}", error) from error
    table = table.dropna(subset=[TIME]).sort_values(TIME, kind="stable")
    return Samples(table[TIME].to_numpy() / 1000, table[list(CHANNELS)].to_numpy(dtype=np.float32))


def _check_covered(seconds: np.ndarray, start_s: float, end_s: float, path: Path) -> None:
    """Raise InputError unless samples reach over the whole window without a long gap."""
    edges = np.clip(seconds, start_s, end_s)
    longest_s = np.diff(edges, prepend=start_s, append=end_s).max() if len(edges) else math.inf
    if longest_s > LONGEST_GAP_S:
        raise InputError(
            f"expected samples from {start_s:.2f} to {end_s:.2f} s in {path}, found "
            f"{longest_s:.2f} s without one"
        )
