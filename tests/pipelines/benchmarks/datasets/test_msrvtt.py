"""MSR-VTT: the 1k-A list, videos with and without their sound."""

from pathlib import Path

import av
import numpy as np
import pytest

from pipelines.benchmarks.datasets.msrvtt import mount
from tests.pipelines.source.datasets.small_sounds import write_sound, write_text
from vitlens_core.errors import ConfigError, InputError

pytestmark = pytest.mark.slow

HEADER = "key,vid_key,video_id,sentence"
ROWS = ('ret0,msr7010,video7010,"a man, singing"', "ret1,msr7011,video7011,a dog barks")


def write_video(path: Path, level: int) -> None:
    """Eight grey frames."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=8)
        stream.width, stream.height = 32, 24
        for _ in range(8):
            frame = av.VideoFrame.from_ndarray(np.full((24, 32, 3), level, np.uint8), "rgb24")
            for packet in stream.encode(frame):
                container.mux(packet)
        for packet in stream.encode(None):
            container.mux(packet)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_text(tmp_path / "MSRVTT_JSFUSION_test.csv", HEADER, *ROWS)
    write_video(tmp_path / "videos" / "all" / "video7010.mp4", 200)
    write_video(tmp_path / "videos" / "video7011.mp4", 50)
    write_sound(tmp_path / "audio" / "video7010.wav")
    return tmp_path


def test_videos_come_with_captions_and_sound_where_there_is_any(root):
    mounted = mount(str(root))
    assert [e.texts for e in mounted.test] == [("a man, singing",), ("a dog barks",)]
    assert mounted.notes == (
        "1 of 2 videos have no sound file",
        "2 videos; published figures are of 1000",
    )
    seen, silent = (example.read() for example in mounted.test)
    assert seen["video"].shape == (8, 24, 32, 3)
    assert abs(float(seen["video"].mean()) - 200) < 6
    assert seen["audio"].shape == (4800,)
    assert silent.keys() == {"video"}


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (ROWS[0], "'video7010' a second time"),
        ("ret2,msr1,video9,words", "no file"),
        ("ret2,msr1,,words", "expected a video_id"),
        ("ret2,msr1,../video7010,words", "expected a video_id"),
        ("ret2,msr1,video7012, ", "expected a sentence"),
        ("ret2,msr1,video7012", "expected 4 cells"),
    ],
)
def test_a_wrong_row_is_refused_by_its_line(root, row, message):
    write_text(root / "MSRVTT_JSFUSION_test.csv", HEADER, *ROWS, row)
    with pytest.raises(ConfigError, match=message) as refused:
        mount(str(root))
    assert "line 4" in str(refused.value)


def test_a_list_without_its_columns_or_rows_is_refused(root):
    path = root / "MSRVTT_JSFUSION_test.csv"
    write_text(path, "video_id,caption", "video7010,a man")
    with pytest.raises(ConfigError, match="expected the columns"):
        mount(str(root))
    write_text(path, HEADER)
    with pytest.raises(ConfigError, match="has no row"):
        mount(str(root))
    path.unlink()
    with pytest.raises(ConfigError, match="no file"):
        mount(str(root))


@pytest.mark.parametrize("name", ["videos/all/video7010.mp4", "audio/video7010.wav"])
def test_a_damaged_file_is_refused_by_its_name(root, name):
    (root / name).write_bytes(b"nothing of the kind")
    with pytest.raises(InputError, match="video7010"):
        mount(str(root)).test[0].read()
