"""archive: a registered version as one file, to be kept or carried to another home.

Writes    a tar of    contents.json   every file with size and SHA-256, and what the registry knows
                      model/…         the package that MLflow and vitlens_core load
                      report/…        report.html and report.json, if there are any
Promises  an archive is read whole and compared before anything is registered; only files that
          `contents.json` lists are taken, and none can lie outside their folder. Gates are
          checked where a version is registered: an imported one is promoted only by force.
"""

from __future__ import annotations

import hashlib
import io
import re
import tarfile
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pipelines.registry import links, models, writes
from pipelines.registry.figures import figures_of, log_results
from pipelines.registry.tracking import (
    EVALUATION_TAG,
    NOTE_TAG,
    description,
    log_params,
)
from pipelines.registry.version import CHALLENGER, ModelVersion
from pipelines.store.files import FileEntry, atomic_file, file_entry
from pipelines.store.home import Home
from vitlens_core.digests import check_digests
from vitlens_core.errors import ConfigError, IntegrityError
from vitlens_core.model_files import CARD_FILE
from vitlens_core.scratch import Scratch

if TYPE_CHECKING:
    from mlflow import MlflowClient

FORMAT = "vitlens-model-1"
CONTENTS, MODEL, REPORT = "contents.json", "model", "report"
IMPORTED_TAG = "vitlens.imported"
_FINGERPRINT = re.compile("[0-9a-f]{16,64}")  # it names folders, and stands in queries
_LARGEST_CONTENTS = 64 * 1024**2  # bytes of contents.json; a package has some hundred files
# Of the home that registered it; another home signs what it registers.
_LOCAL_TAGS = ("mlflow.", "vitlens.gate", "vitlens.tier", "vitlens.signature", "vitlens.home")


class Contents(BaseModel):
    """What an archive holds, and what the registry knew of the version."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: str = FORMAT
    name: str = Field(pattern=r"^vitlens-\w+$")
    version: int
    files: tuple[FileEntry, ...] = Field(description="paths in the archive")
    tags: dict[str, str] = Field(description="of the version")
    run_tags: dict[str, str]
    params: dict[str, str]
    figures: dict[str, float]
    gates: str = Field(description="verdict where it was registered")


def export(home: Path, model: ModelVersion, path: Path) -> Contents:
    """Write a version as an archive.

    Raises:
        ConfigError: `path` exists.
    """
    if path.exists():
        raise ConfigError(f"{path} exists; name another file")
    folders = {MODEL: models.download(model.uri, home)}
    report = Home(home).report_folder(model.evaluation)
    folders |= {REPORT: report} if report.is_dir() else {}
    files = {
        f"{top}/{file.relative_to(folder).as_posix()}": file
        for top, folder in folders.items()
        for file in sorted(folder.rglob("*"))
        if file.is_file()
    }
    contents = _contents(home, model, files)
    with atomic_file(path) as file, tarfile.open(fileobj=file, mode="w|") as tar:  # ty: ignore
        _add(tar, CONTENTS, contents.model_dump_json(indent=1).encode())
        for name, file in files.items():
            tar.add(file, name, recursive=False, filter=_anonymous)
    return contents


def import_(home: Path, path: Path) -> ModelVersion:
    """Register the version of an archive as challenger of this home.

    Raises:
        IntegrityError: a file differs from what the archive states, or the archive is damaged.
        ConfigError: it is no archive of a model, or its evaluation is registered already.
    """
    with Scratch("import") as scratch:
        contents = _extract(path, Path(scratch))
        client = models.connect(home)
        from mlflow.exceptions import MlflowException  # late: MLflow takes seconds

        evaluation = contents.tags.get(EVALUATION_TAG, "")
        if known := models.registered(client, contents.name, evaluation):
            raise ConfigError(f"{path}: this evaluation is {contents.name} version {known} already")
        digest = check_digests(Path(scratch) / MODEL)
        try:
            version = _register(client, home, contents, Path(scratch), digest)
        except MlflowException as error:
            raise ConfigError(f"{path}: the registry refuses what it states: {error}") from error
        writes.set_alias(client, contents.name, CHALLENGER, version)
        return models.get(client, contents.name, version)


def _contents(home: Path, model: ModelVersion, files: Mapping[str, Path]) -> Contents:
    client = models.connect(home)
    run = client.get_run(model.run_id)
    tags = client.get_model_version(model.name, str(model.version)).tags
    return Contents(
        name=model.name,
        version=model.version,
        files=tuple(
            file_entry(file).model_copy(update={"name": name}) for name, file in files.items()
        ),
        tags=_portable(tags),
        run_tags=_portable(run.data.tags),
        params=run.data.params,
        figures=figures_of(run),
        gates=tags.get("vitlens.gates", "not checked"),
    )


def _portable(tags: Mapping[str, str]) -> dict[str, str]:
    return {key: value for key, value in tags.items() if not key.startswith(_LOCAL_TAGS)}


def _extract(path: Path, folder: Path) -> Contents:
    """Write the files of an archive below `folder`, and compare each with its digest."""
    try:
        with tarfile.open(path, "r|") as tar:
            contents = _read_contents(tar, path)
            stated = {entry.name: entry for entry in contents.files}
            while member := tar.next():
                entry = stated.pop(member.name, None)
                if entry is None or not member.isreg() or member.size != entry.size_bytes:
                    raise IntegrityError(
                        f"{path}: {member.name!r} is no file as {CONTENTS} lists it; fetch it again"
                    )
                _write(tar, member, folder / member.name, entry)
    except (tarfile.TarError, EOFError) as error:
        raise IntegrityError(f"{path} is damaged, or no archive of a model: {error}") from error
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror or error}") from error
    if stated:
        raise IntegrityError(f"{path} lacks {next(iter(stated))} and {len(stated) - 1} more files")
    return contents


def _read_contents(tar: tarfile.TarFile, path: Path) -> Contents:
    first = tar.next()
    if first is None or first.name != CONTENTS or not 0 < first.size <= _LARGEST_CONTENTS:
        raise ConfigError(f"{path} does not begin with {CONTENTS}; expected a file of export")
    file = tar.extractfile(first)
    try:
        contents = Contents.model_validate_json(file.read() if file else b"")
    except ValidationError as error:
        raise ConfigError(f"{path}: {CONTENTS} is not that of a model: {error}") from error
    if contents.format != FORMAT:
        raise ConfigError(f"{path} has the format {contents.format!r}; expected {FORMAT!r}")
    for entry in contents.files:
        if not _is_placed(entry.name):
            raise ConfigError(f"{path}: {entry.name!r} would lie outside of {MODEL}/ and {REPORT}/")
    if not _FINGERPRINT.fullmatch(contents.tags.get(EVALUATION_TAG, "")):
        raise ConfigError(f"{path}: {CONTENTS} does not state the fingerprint of an evaluation")
    return contents


def _is_placed(name: str) -> bool:
    """Whether a file of an archive lies in `model/`, or right in `report/`."""
    top, *rest = PurePosixPath(name).parts
    if "\\" in name or "\0" in name or ".." in rest or not rest:
        return False
    return top == MODEL or (top == REPORT and len(rest) == 1)


def _write(tar: tarfile.TarFile, member: tarfile.TarInfo, path: Path, entry: FileEntry) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    source, digest = tar.extractfile(member), hashlib.sha256()
    assert source is not None, "a regular file"
    with path.open("wb") as file:
        while block := source.read(1 << 20):
            digest.update(block)
            file.write(block)
    if digest.hexdigest() != entry.sha256:
        raise IntegrityError(f"{entry.name} differs from its SHA-256; fetch the archive again")


def _register(
    client: MlflowClient, home: Path, contents: Contents, folder: Path, digest: str
) -> int:
    experiment = models.experiment(client, home)
    origin = {IMPORTED_TAG: f"version {contents.version}; gates there: {contents.gates}"}
    run = client.create_run(
        experiment,
        run_name=f"{contents.name}-imported",
        tags={**contents.run_tags, **origin},
    )
    status = "FAILED"
    try:
        log_params(client, run.info.run_id, contents.params)
        log_results(client, run.info.run_id, contents.figures)
        if (folder / REPORT).is_dir():
            client.log_artifacts(run.info.run_id, str(folder / REPORT), REPORT)
            report = Home(home).report_folder(contents.tags.get(EVALUATION_TAG, ""))
            report.mkdir(parents=True, exist_ok=True)
            for file in (folder / REPORT).iterdir():
                (report / file.name).write_bytes(file.read_bytes())
        logged = client.create_logged_model(
            experiment, name=contents.name, source_run_id=run.info.run_id
        )
        client.log_model_artifacts(logged.model_id, str(folder / MODEL))
        model = client.finalize_logged_model(logged.model_id, "READY")
        status = "FINISHED"
    finally:
        client.set_terminated(run.info.run_id, status)
    tags = {**contents.tags, **origin}
    card = description(folder / MODEL / "artifacts" / CARD_FILE)
    writes.set_run_tag(client, run.info.run_id, NOTE_TAG, card)
    version = models.create_version(client, home, contents.name, model, digest, tags, card)
    links.write(client, models.get(client, contents.name, version))
    return version


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(data)
    tar.addfile(info, io.BytesIO(data))


def _anonymous(info: tarfile.TarInfo) -> tarfile.TarInfo:
    """Leave out whose files they were and when: the same version gives the same archive."""
    info.uid = info.gid = info.mtime = 0
    info.uname = info.gname = ""
    info.mode = 0o644
    return info
