"""The mirror on disk, and over HTTP from a loopback server that misbehaves on purpose."""

import gzip
import hashlib
import pickle
import shutil
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from types import SimpleNamespace

import botocore.exceptions
import fsspec
import objaverse
import pytest

from pipelines.objects.mirror import EMBEDDED, is_remote, open_mirror
from pipelines.objects.records import ObjectRecord
from pipelines.objects.transfer import UnreachableError, transfer_errors
from tests.pipelines.misbehaving_server import (
    QUICK,
    dropped,
    fails,
    other_size,
    serving,
    stalled,
    truncated,
)
from tests.pipelines.small_mirror import write_json
from vitlens_core.errors import BadSampleError, ConfigError, TransientError

GLB = b"glTF" + bytes(range(256)) * 40
UIDS = ("aaa", "bbb")


@pytest.fixture(autouse=True)
def _no_package_downloads(monkeypatch):
    def refuse(url, path):
        raise AssertionError(f"the objaverse package went for {url} by itself")

    monkeypatch.setattr(objaverse.urllib.request, "urlretrieve", refuse)
    monkeypatch.setenv("NO_PROXY", "*")


@pytest.fixture
def layout(tmp_path) -> Path:
    """A small mirror: two annotated objects of class `chair`."""
    root = tmp_path / "mirror" / "hf-objaverse-v1"
    write_json(root / "object-paths.json.gz", {u: f"glbs/000-000/{u}.glb" for u in UIDS})
    write_json(root / "lvis-annotations.json.gz", {"chair": list(UIDS), "seat": [UIDS[0]]})
    annotation = {"name": "Chair", "license": "by", "archives": {"glb": {"size": len(GLB)}}}
    write_json(root / "metadata" / "000-000.json.gz", dict.fromkeys(UIDS, annotation))
    (root / "glbs" / "000-000").mkdir(parents=True)
    for uid in UIDS:
        (root / "glbs" / "000-000" / f"{uid}.glb").write_bytes(GLB)
    return root


@pytest.fixture
def server(layout):
    with serving(layout.parent) as server:
        yield server


@pytest.fixture
def remote(server, tmp_path):
    return open_mirror(server.url, tmp_path / "cache", QUICK)


def first(mirror) -> ObjectRecord:
    return next(mirror.records())


def assert_only_whole_files(folder: Path) -> None:
    for path in folder.rglob("*") if folder.exists() else ():
        assert path.is_dir() or path.read_bytes() == GLB, f"{path} is corrupt or temporary"


# --- the shipped mirror --------------------------------------------------------------------


def test_the_embedded_mirror_is_whole(tmp_path):
    mirror = open_mirror("embedded")
    records = list(mirror.records())
    assert len(records) == len({record.uid for record in records}) == 224
    assert len({record.label for record in records}) == 25
    assert mirror.quarantined() == {}
    assert all(r.name and r.licence and r.creator and r.size_bytes for r in records)
    for record in records:
        fetched = mirror.fetch(record, tmp_path)
        source = EMBEDDED / "hf-objaverse-v1" / record.path
        assert fetched.sha256 == hashlib.sha256(source.read_bytes()).hexdigest()
        assert fetched.size_bytes == record.size_bytes == fetched.path.stat().st_size


def test_the_embedded_objects_ship_with_their_attribution():
    attribution = (EMBEDDED / "ATTRIBUTION.md").read_text()
    assert all(record.uid in attribution for record in open_mirror("embedded").records())


# --- annotations ---------------------------------------------------------------------------


def test_the_base_and_the_layout_folder_both_open(layout):
    inside, above = (list(open_mirror(str(p)).records()) for p in (layout, layout.parent))
    assert inside == above
    assert [record.uid for record in inside] == list(UIDS)


def test_any_fsspec_url_is_a_mirror(layout, tmp_path):
    fsspec.filesystem("memory").put(str(layout), "/mirror/hf-objaverse-v1", recursive=True)
    mirror = open_mirror("memory://mirror", tmp_path / "cache")
    assert list(mirror.records()) == list(open_mirror(str(layout)).records())
    assert mirror.fetch(first(mirror), tmp_path / "out").path.read_bytes() == GLB


def test_records_can_be_narrowed_to_some_uids(layout):
    assert [r.uid for r in open_mirror(str(layout)).records(["bbb", "unheard-of"])] == ["bbb"]


def test_an_object_in_two_classes_takes_the_first(layout):
    labels = open_mirror(str(layout)).labels()
    assert {uid: labels.get(uid) for uid in (*UIDS, "ccc")} == {
        "aaa": "chair",
        "bbb": "chair",
        "ccc": None,
    }


def test_objects_without_annotations_are_kept(layout):
    write_json(layout / "metadata" / "000-000.json.gz", {"aaa": {"name": None, "tags": [None]}})
    write_json(layout / "lvis-annotations.json.gz", {})
    assert list(open_mirror(str(layout)).records()) == [
        ObjectRecord(uid=uid, path=f"glbs/000-000/{uid}.glb") for uid in UIDS
    ]


def test_a_missing_metadata_part_is_reported_and_never_downloaded(layout, caplog):
    (layout / "metadata" / "000-000.json.gz").unlink()
    assert {r.name for r in open_mirror(str(layout)).records()} == {""}
    assert "its 2 objects have no metadata" in caplog.text


@pytest.mark.parametrize(
    "path",
    [
        "/etc/passwd",
        "../../secret.glb",
        "glbs/../../bad.glb",
        "glbs/000-000/other.glb",
        "glbs/000-000/sub/bad.glb",
        "bad.glb",
        7,
    ],
)
def test_paths_out_of_the_layout_are_quarantined(layout, tmp_path, path):
    write_json(layout / "object-paths.json.gz", {"bad": path, "aaa": "glbs/000-000/aaa.glb"})
    mirror = open_mirror(str(layout))
    assert [record.uid for record in mirror.records()] == ["aaa"]
    assert list(mirror.quarantined()) == ["bad"]
    with pytest.raises(BadSampleError, match="inside the mirror"):
        mirror.fetch(ObjectRecord("bad", str(path)), tmp_path / "out")


def test_a_uid_that_is_a_path_is_quarantined(layout):
    write_json(layout / "object-paths.json.gz", {"../x": "glbs/000-000/../x.glb"})
    assert list(open_mirror(str(layout)).quarantined()) == ["../x"]


def test_a_link_out_of_the_mirror_is_not_followed(layout, tmp_path):
    (tmp_path / "secret").write_bytes(GLB)
    (layout / "glbs" / "000-000" / "aaa.glb").unlink()
    (layout / "glbs" / "000-000" / "aaa.glb").symlink_to(tmp_path / "secret")
    mirror = open_mirror(str(layout))
    with pytest.raises(BadSampleError, match="leads outside the mirror"):
        mirror.fetch(first(mirror), tmp_path / "out")
    assert not (tmp_path / "out").exists()


# --- wrong mirrors -------------------------------------------------------------------------


@pytest.mark.parametrize("url", ["/no/such/folder", "embeded", "nosuch://bucket", "memory://empty"])
def test_a_missing_mirror_names_what_is_valid(url, tmp_path):
    with pytest.raises(ConfigError, match=r"no Objaverse mirror at .*Valid: 'embedded'"):
        open_mirror(url, tmp_path)


def test_a_folder_in_another_layout_names_what_was_looked_for(layout):
    (layout / "lvis-annotations.json.gz").unlink()
    with pytest.raises(ConfigError, match=r"lvis-annotations\.json\.gz: no such file"):
        open_mirror(str(layout))


def test_an_unreachable_object_store_is_known_as_one():
    with pytest.raises(UnreachableError, match="Could not connect"), transfer_errors("s3://a/b"):
        raise botocore.exceptions.EndpointConnectionError(endpoint_url="http://store:9000")


def test_an_unreachable_server_is_a_wrong_setting(server, tmp_path):
    server.server_close()
    server.socket.close()
    with pytest.raises(ConfigError, match=r"no Objaverse mirror at .*Connect"):
        open_mirror(server.url, tmp_path, QUICK)


@pytest.mark.parametrize(
    "content",
    [b"not gzip", gzip.compress(b"{oops"), gzip.compress(b"[1]")],
    ids=["not gzip", "not JSON", "no object"],
)
def test_annotations_in_another_format_are_refused(layout, content):
    (layout / "object-paths.json.gz").write_bytes(content)
    with pytest.raises(ConfigError, match="not in Objaverse's format"):
        open_mirror(str(layout)).quarantined()


def test_records_hold_what_the_objaverse_package_reads(monkeypatch):
    monkeypatch.setattr(objaverse, "_VERSIONED_PATH", str(EMBEDDED / "hf-objaverse-v1"))
    paths = objaverse._load_object_paths()
    annotations = objaverse.load_annotations(list(paths))
    classes = objaverse.load_lvis_annotations()
    records = {record.uid: record for record in open_mirror("embedded").records()}
    assert {uid: record.path for uid, record in records.items()} == paths
    for uid, record in records.items():
        assert (record.name, record.licence) == (
            annotations[uid]["name"],
            annotations[uid]["license"],
        )
        assert record.size_bytes == annotations[uid]["archives"]["glb"]["size"]
        assert record.label == min(label for label, uids in classes.items() if uid in uids)


def test_unlabelled_objects_can_be_left_out(layout):
    write_json(layout / "lvis-annotations.json.gz", {"chair": ["bbb"], "table": []})
    mirror = open_mirror(str(layout))
    assert [r.uid for r in mirror.records(labelled_only=True)] == ["bbb"]
    assert [r.label for r in mirror.records()] == [None, "chair"]


# --- fetching ------------------------------------------------------------------------------


def test_a_local_file_of_another_size_is_bad(layout, tmp_path):
    (layout / "glbs" / "000-000" / "aaa.glb").write_bytes(GLB[:1234])
    mirror = open_mirror(str(layout))
    with pytest.raises(BadSampleError, match="1,234 bytes, the mirror's annotation says 10,244"):
        mirror.fetch(first(mirror), tmp_path / "out")
    assert_only_whole_files(tmp_path / "out")


@pytest.mark.parametrize("replace", [lambda path: None, lambda path: path.mkdir()])
def test_a_local_file_that_is_none_is_bad(layout, tmp_path, replace):
    path = layout / "glbs" / "000-000" / "aaa.glb"
    path.unlink()
    replace(path)
    mirror = open_mirror(str(layout))
    with pytest.raises(BadSampleError, match="no such file"):
        mirror.fetch(first(mirror), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_remote_mirror_gives_what_the_local_one_gives(remote, layout, server, tmp_path):
    assert list(remote.records()) == list(open_mirror(str(layout)).records())
    fetched = remote.fetch(first(remote), tmp_path / "out")
    assert fetched.path == tmp_path / "out" / "aaa.glb"
    assert (fetched.size_bytes, fetched.sha256) == (len(GLB), hashlib.sha256(GLB).hexdigest())


def test_annotations_are_fetched_once(server, tmp_path):
    for _ in range(2):
        list(open_mirror(server.url, tmp_path / "cache", QUICK).records())
    assert len([path for path in server.requests if path.endswith(".json.gz")]) == 3


def test_a_mirror_that_has_changed_is_seen(server, layout, tmp_path):
    def opened():
        return open_mirror(server.url, tmp_path / "cache", QUICK)

    before, state = opened(), opened().state()
    assert before.state() == state
    write_json(layout / "lvis-annotations.json.gz", {"stool": list(UIDS)})
    assert opened().state() == before.state() != state
    assert {record.label for record in opened().records()} == {"stool"}
    assert {record.label for record in before.records()} == {"chair"}  # a run keeps to its own


def test_without_a_network_annotations_are_those_last_fetched(server, layout, tmp_path, caplog):
    known = list(open_mirror(server.url, tmp_path / "cache", QUICK).records())
    server.server_close()
    mirror = open_mirror(server.url, tmp_path / "cache", QUICK)
    assert list(mirror.records()) == known
    assert "using its annotations as last fetched" in caplog.text
    with pytest.raises(TransientError, match="Connect"):
        mirror.state()


def test_a_local_mirror_changes_with_its_files(layout):
    mirror = open_mirror(str(layout))
    state = mirror.state()
    assert open_mirror(str(layout.parent)).state() == state
    (layout / "glbs" / "000-000" / "ccc.glb").write_bytes(GLB)
    assert mirror.state() != state


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("embedded", False),
        ("/data/objaverse", False),
        ("file:///data/objaverse", False),
        ("objaverse", True),
        ("https://example.org/objaverse", True),
        ("memory://objaverse", True),
    ],
)
def test_a_mirror_is_remote_or_a_folder(url, expected):
    assert is_remote(url) is expected


def test_a_workers_copy_of_the_mirror_fetches_too(remote, tmp_path):
    record = first(remote)
    copy = pickle.loads(pickle.dumps(remote))
    assert copy.fetch(record, tmp_path / "out").path.read_bytes() == GLB


def test_a_file_of_the_right_size_is_not_fetched_again(remote, server, tmp_path):
    for _ in range(2):
        remote.fetch(first(remote), tmp_path / "out")
    assert len([path for path in server.requests if path.endswith("aaa.glb")]) == 1
    (tmp_path / "out" / "aaa.glb").write_bytes(b"cut short")
    assert remote.fetch(first(remote), tmp_path / "out").size_bytes == len(GLB)


@pytest.mark.parametrize(
    "fault", [fails(500), fails(503), fails(429), truncated, other_size, stalled, dropped]
)
def test_a_passing_fault_is_ridden_out(remote, server, tmp_path, fault):
    server.faults["aaa.glb"] = [fault, fault]
    assert remote.fetch(first(remote), tmp_path / "out").size_bytes == len(GLB)
    assert_only_whole_files(tmp_path / "out")


@pytest.mark.parametrize(
    ("fault", "error", "reason"),
    [
        (fails(404), BadSampleError, "no such file"),
        (fails(403), BadSampleError, "HTTP 403"),
        (other_size, BadSampleError, "17 bytes, the mirror's annotation says 10,244"),
        (fails(500), TransientError, r"HTTP 500 .*given up after attempt 3"),
        (fails(429, retry_after="0"), TransientError, "HTTP 429 .*attempt 3"),
        (truncated, TransientError, "given up after attempt 3"),
        (stalled, TransientError, "SocketTimeoutError.*attempt 3"),
        (dropped, TransientError, "given up after attempt 3"),
    ],
)
def test_a_lasting_fault_is_reported_and_leaves_nothing(
    remote, server, tmp_path, fault, error, reason
):
    record = first(remote)
    server.faults["aaa.glb"] = [fault] * 9
    with pytest.raises(error, match=reason):
        remote.fetch(record, tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []
    server.faults.clear()
    assert remote.fetch(record, tmp_path / "out").path.read_bytes() == GLB


def test_permanent_faults_are_not_retried(remote, server, tmp_path):
    server.faults["aaa.glb"] = [fails(404)]
    with pytest.raises(BadSampleError):
        remote.fetch(first(remote), tmp_path / "out")
    assert len([path for path in server.requests if path.endswith("aaa.glb")]) == 1


@pytest.fixture
def pauses(monkeypatch):
    """The seconds slept between attempts, without sleeping them."""
    slept = []
    monkeypatch.setattr("tenacity.nap.time", SimpleNamespace(sleep=slept.append))
    return slept


def test_the_pause_a_server_asks_for_is_kept(remote, server, tmp_path, pauses):
    in_4_s = format_datetime(datetime.now(UTC) + timedelta(seconds=4), usegmt=True)
    server.faults["aaa.glb"] = [fails(429, retry_after="2"), fails(503, retry_after=in_4_s)]
    remote.fetch(first(remote), tmp_path / "out")
    assert 2 <= pauses[0] <= 2.01
    assert 2 <= pauses[1] <= 4.01  # the header's date has whole seconds


def test_too_long_a_pause_is_not_waited_for(remote, server, tmp_path, pauses):
    server.faults["aaa.glb"] = [fails(429, retry_after="3600")]
    with pytest.raises(TransientError, match=r"retry after 3600 s \(given up after attempt 1\)"):
        remote.fetch(first(remote), tmp_path / "out")
    assert pauses == []


def test_an_unreadable_pause_falls_back_to_the_back_off(remote, server, tmp_path, pauses):
    server.faults["aaa.glb"] = [fails(429, retry_after="soon")] * 2
    remote.fetch(first(remote), tmp_path / "out")
    assert 0.001 <= pauses[0] <= 0.002
    assert 0.002 <= pauses[1] <= 0.003


def test_a_busy_server_at_opening_is_transient(server, tmp_path):
    server.faults["object-paths.json.gz"] = [fails(503)] * 9
    with pytest.raises(TransientError, match="HTTP 503"):
        open_mirror(server.url, tmp_path, QUICK)


def test_a_full_disk_is_not_blamed_on_the_mirror(layout, tmp_path, monkeypatch):
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    mirror = open_mirror(str(layout))
    record = first(mirror)
    monkeypatch.setattr(shutil, "copyfile", full)
    with pytest.raises(OSError, match="No space left"):
        mirror.fetch(record, tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []
