"""`make coverage`: lines counted by folder."""

from infra.covered import as_table, by_folder


def _file(lines: int, run: int) -> dict:
    return {"summary": {"num_statements": lines, "covered_lines": run}}


def test_files_are_summed_by_folder_and_over_all() -> None:
    files = {
        "pipelines/store/files.py": _file(10, 9),
        "pipelines/source/datasets/esc50.py": _file(4, 1),
        "pipelines/source/job.py": _file(6, 4),
        "pipelines/flow.py": _file(0, 0),
    }
    found = by_folder(files)
    assert list(found) == ["pipelines", "pipelines/source", "pipelines/store", "all"]
    assert found["pipelines/source"] == (10, 5)
    assert found["all"] == (20, 14)
    lines = list(as_table(found))
    assert lines[1].split() == ["pipelines", "0", "0", "100.0%"]
    assert lines[-1].split() == ["all", "20", "6", "70.0%"]
