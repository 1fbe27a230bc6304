"""postgres: dumps of a database and their way back, by Postgres' own client.

Reads     passwords where the client looks for them: PGPASSWORD, PGPASSFILE. They stand in no
          argument and in no message.
Promises  a database is replaced in one transaction: with another schema than the dump's it is
          emptied, and after a failure or a kill it is as it was. Its owner, its rights and its
          settings stay, as the database itself is not made anew. Client and server may be of
          different releases.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO
from urllib.parse import parse_qsl, urlsplit

from pipelines.store.text import redacted
from vitlens_core.confinement import plain_name
from vitlens_core.errors import ConfigError, InputError, VitlensError

_Stream = int | IO[bytes]
_PSQL = ("psql", "--no-psqlrc", "--quiet", "--no-password", "--set=ON_ERROR_STOP=1")
_OLDEST = 15  # release of the server; in those before, `public` is not its database's owner's
_CLOSE_S, _POLL_S = 10.0, 0.5  # how long sessions of programs that were stopped may stay
# `pg_restore --clean` drops what the dump names. A later release has tables beside them whose
# foreign keys hold the others, so everything is dropped; `public` is then what it is in an empty
# database, which is what a dump starts from.
_EMPTY = b"""
BEGIN;
SET LOCAL lock_timeout = '60s';
SET LOCAL client_min_messages = warning;
SET LOCAL search_path = pg_catalog;
SELECT set_config(name, '0', false) FROM pg_settings WHERE name = 'transaction_timeout';
DO $$
DECLARE name text;
BEGIN
    FOR name IN
        SELECT nspname FROM pg_namespace
        WHERE nspname !~ '^pg_' AND nspname <> 'information_schema'
    LOOP
        EXECUTE format('DROP SCHEMA %I CASCADE', name);
    END LOOP;
    PERFORM lo_unlink(oid) FROM pg_largeobject_metadata;
    CREATE SCHEMA public;
    COMMENT ON SCHEMA public IS 'standard public schema';
    ALTER SCHEMA public OWNER TO pg_database_owner;
    GRANT USAGE ON SCHEMA public TO PUBLIC;
END $$;
"""
# What a client from release 17 on says to every server, those up to 16 too, which do not know it;
# `_EMPTY` says it to those that do.
_UNKNOWN = b"SET transaction_timeout = 0;\n"
_OF_HEAD = (b"\n", b"--", b"\\", b"SET ")  # how lines before a dump's first command begin
_SESSIONS = """
SELECT count(*) FROM pg_stat_activity AS session JOIN pg_database USING (datname)
WHERE datname = current_database() AND usesysid = datdba AND pid <> pg_backend_pid()
"""
_STOP = "stop MLflow, Dagster and the exporter, and restore again"
# What the client says, and what is to be done.
_ADVICE = {
    r"server version: (\d+)\S*.*; pg_dump version": "the server is newer than the client of this "
    r"machine: install that of its release (Debian: postgresql-client-\1), here or in the image",
    r"unsupported version .* in file header": "a newer client made the dump: restore with that",
    r"no password supplied": "set PGPASSWORD or PGPASSFILE",
    r'role "(.*)" does not exist': r"make the role \1 first, as infra/config/databases.sh does",
    r"must be (?:owner|superuser)|permission denied": "name the database's owner or a superuser in "
    "the URL",
    r"due to lock timeout": _STOP,
}


def database_name(url: str) -> str:
    """Return the database that a URL names.

    Raises:
        ConfigError: it is no URL of Postgres, or holds a password.
    """
    expected = f"expected postgresql://user@host/database, found {redacted(url)!r}"
    try:
        parts = urlsplit(url)
        name = plain_name(parts.path.strip("/"))
    except (ValueError, InputError):
        raise ConfigError(expected) from None
    if parts.scheme != "postgresql":
        raise ConfigError(expected)
    if parts.password or any("password" in key.lower() for key, _ in parse_qsl(parts.query)):
        raise ConfigError(
            f"the URL of {name} holds a password, which every process could read: take it out "
            "and set PGPASSWORD or PGPASSFILE"
        )
    return name


def dump(url: str, path: Path) -> None:
    """Write a database to a file, and read it through.

    Raises:
        ConfigError: the client is missing, or the server is older than release 15.
        VitlensError: the client's message.
    """
    _require_release(url)
    wait = "--lock-wait-timeout=60s"
    _call("pg_dump", "--format=custom", "--no-password", wait, f"--file={path}", f"--dbname={url}")
    _call("pg_restore", f"--file={os.devnull}", str(path))  # unpacks every table


def ready(url: str, path: Path) -> None:
    """Rehearse the replacement of a database by a dump, without its rows, and take it back.

    Raises:
        ConfigError: the client is missing, or the server is older than release 15.
        VitlensError: the database does not answer, programs of its owner are at work in it, or the
            role of the URL may not replace what it holds; it is as it was.
    """
    _require_release(url)
    until = time.monotonic() + _CLOSE_S
    while (sessions := int(_asked(url, _SESSIONS))) and time.monotonic() < until:
        time.sleep(_POLL_S)
    if sessions:
        raise VitlensError(
            f"{database_name(url)} is in use by {sessions} sessions of its owner; nothing was "
            f"restored: {_STOP}"
        )
    _play(url, ["pg_restore", "--schema-only", "--file=-", str(path)], b"ROLLBACK;\n")


def replace(url: str, path: Path) -> None:
    """Put a dump in the place of what a database holds, as a whole or not at all.

    Raises:
        VitlensError: the database or the dump refuses; the database is as it was.
    """
    _play(url, ["pg_restore", "--file=-", str(path)], b"COMMIT;\n")


def _require_release(url: str) -> None:
    release = int(_asked(url, "SHOW server_version_num")) // 10_000
    if release < _OLDEST:
        raise ConfigError(
            f"{database_name(url)} is on Postgres {release}, and backups need release {_OLDEST} or "
            "later: upgrade the server first"
        )


def _asked(url: str, sql: str) -> str:
    return _call(*_PSQL, "--tuples-only", "--no-align", f"--dbname={url}", f"--command={sql}")


def _play(url: str, read: Sequence[str], end: bytes) -> None:
    """Empty a database, play what `read` writes into it, and then say `end`."""
    command = [*_PSQL, f"--output={os.devnull}", f"--dbname={url}"]
    with (
        TemporaryFile() as said,
        TemporaryFile() as complained,
        _started(command, stdin=subprocess.PIPE, stderr=said) as psql,
    ):
        assert psql.stdin is not None
        with suppress(BrokenPipeError):  # psql has ended, and says why
            with _started(read, stdout=subprocess.PIPE, stderr=complained) as source:
                assert source.stdout is not None
                psql.stdin.write(_EMPTY)
                _feed(source.stdout, psql.stdin)
            # Said here alone: whatever else ends this process ends psql without it, which changes
            # nothing. With psql's own --single-transaction half a dump would be kept.
            if source.returncode == 0:
                psql.stdin.write(end)
        with suppress(BrokenPipeError):
            psql.stdin.close()
        psql.wait()
        _check(command, psql.returncode, said)
        _check(read, source.returncode, complained)


def _feed(dump: IO[bytes], psql: IO[bytes]) -> None:
    """Hand a dump on, without the line of its head that older servers do not know."""
    for line in dump:
        if line != _UNKNOWN:
            psql.write(line)
        if not line.startswith(_OF_HEAD):
            break
    shutil.copyfileobj(dump, psql)
    psql.flush()


def _call(*command: str) -> str:
    with TemporaryFile() as complained:
        with _started(command, stdout=subprocess.PIPE, stderr=complained) as process:
            out, _ = process.communicate()
        _check(command, process.returncode, complained)
    return out.decode(errors="replace")


def _started(
    command: Sequence[str],
    *,
    stdin: _Stream = subprocess.DEVNULL,
    stdout: _Stream = subprocess.DEVNULL,
    stderr: _Stream,
) -> subprocess.Popen[bytes]:
    # Messages in English, by which advice is found; a server that is away is not waited for.
    variables = {"PGCONNECT_TIMEOUT": "30", **os.environ, "LC_ALL": "C"}
    try:
        return subprocess.Popen(command, stdin=stdin, stdout=stdout, stderr=stderr, env=variables)
    except FileNotFoundError:
        raise ConfigError(
            f"no {command[0]} found: install the client of Postgres (Debian: postgresql-client)"
        ) from None


def _check(command: Sequence[str], code: int, said: IO[bytes]) -> None:
    if code == 0:
        return
    said.seek(0)
    text = said.read().decode(errors="replace").strip() or f"ended with {code}"
    advice = [
        found.expand(then) for said, then in _ADVICE.items() if (found := re.search(said, text))
    ]
    raise VitlensError("; ".join([f"{command[0]}: {redacted(text)}", *advice]))
