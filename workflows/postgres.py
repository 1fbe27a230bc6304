"""postgres: dumps of a database and their way back, by Postgres' own client.

Reads     passwords where the client looks for them: PGPASSWORD, PGPASSFILE. They stand in no
          argument and in no message.
Promises  a database is replaced in one transaction: with another schema than the dump's it is
          emptied, and after a failure or a kill it is as it was. Its owner, its rights and its
          settings stay, as the database itself is not made anew.
"""

from __future__ import annotations

import os
import re
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
_CLOSE_S, _POLL_S = 10.0, 0.5  # how long sessions of programs that were stopped may stay
# `pg_restore --clean` drops what the dump names. A later release has tables beside them whose
# foreign keys hold the others, so everything is dropped; `public` is then what it is in an empty
# database, which is what a dump starts from.
_EMPTY = b"""
BEGIN;
SET LOCAL lock_timeout = '60s';
SET LOCAL client_min_messages = warning;
SET LOCAL search_path = pg_catalog;
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
    IF current_setting('server_version_num')::int >= 150000 THEN
        ALTER SCHEMA public OWNER TO pg_database_owner;
        GRANT USAGE ON SCHEMA public TO PUBLIC;
    ELSE
        GRANT CREATE, USAGE ON SCHEMA public TO PUBLIC;
    END IF;
END $$;
"""
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
    r'role "(.*)" does not exist': r"make the role \1 first, as infra/compose/databases.sh does",
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
    """Write a database to a file, and read it through (`VitlensError`: the client's message)."""
    wait = "--lock-wait-timeout=60s"
    _call("pg_dump", "--format=custom", "--no-password", wait, f"--file={path}", f"--dbname={url}")
    _call("pg_restore", f"--file={os.devnull}", str(path))  # unpacks every table


def ready(url: str, path: Path) -> None:
    """Check that a dump can be put into a database, without changing it.

    Raises:
        ConfigError: the client is missing or too old.
        VitlensError: the database does not answer, or programs of its owner are at work in it.
    """
    _call("pg_restore", "--list", str(path))
    until = time.monotonic() + _CLOSE_S
    ask = (*_PSQL, "--tuples-only", "--no-align", f"--dbname={url}", f"--command={_SESSIONS}")
    while (sessions := int(_call(*ask))) and time.monotonic() < until:
        time.sleep(_POLL_S)
    if sessions:
        raise VitlensError(
            f"{database_name(url)} is in use by {sessions} sessions of its owner; nothing was "
            f"restored: {_STOP}"
        )


def replace(url: str, path: Path) -> None:
    """Put a dump in the place of what a database holds, as a whole or not at all.

    Raises:
        VitlensError: the database or the dump refuses; the database is as it was.
    """
    command = [*_PSQL, f"--output={os.devnull}", f"--dbname={url}"]
    with (
        TemporaryFile() as said,
        _started(command, stdin=subprocess.PIPE, stderr=said) as psql,
    ):
        assert psql.stdin is not None
        with suppress(BrokenPipeError):  # psql has ended, and says why
            psql.stdin.write(_EMPTY)
            psql.stdin.flush()
        read = ["pg_restore", "--file=-", str(path)]
        with _started(read, stdout=psql.stdin) as source:
            _, complaint = source.communicate()
        # Said here alone: whatever else ends this process ends psql without it, which changes
        # nothing. With psql's own --single-transaction half a dump would be kept.
        if source.returncode == 0:
            with suppress(BrokenPipeError):
                psql.stdin.write(b"COMMIT;\n")
        with suppress(BrokenPipeError):
            psql.stdin.close()
        psql.wait()
        said.seek(0)
        _check(command, psql.returncode, said.read())
        _check(read, source.returncode, complaint)


def _call(*command: str) -> str:
    with _started(command, stdout=subprocess.PIPE) as process:
        out, complaint = process.communicate()
    _check(command, process.returncode, complaint)
    return out.decode(errors="replace")


def _started(
    command: Sequence[str],
    *,
    stdin: _Stream = subprocess.DEVNULL,
    stdout: _Stream = subprocess.DEVNULL,
    stderr: _Stream = subprocess.PIPE,
) -> subprocess.Popen[bytes]:
    # Messages in English, by which advice is found; a server that is away is not waited for.
    variables = {"PGCONNECT_TIMEOUT": "30", **os.environ, "LC_ALL": "C"}
    try:
        return subprocess.Popen(command, stdin=stdin, stdout=stdout, stderr=stderr, env=variables)
    except FileNotFoundError:
        raise ConfigError(
            f"no {command[0]} found: install the client of Postgres (Debian: postgresql-client)"
        ) from None


def _check(command: Sequence[str], code: int, complaint: bytes) -> None:
    if code == 0:
        return
    text = complaint.decode(errors="replace").strip() or f"ended with {code}"
    advice = [
        found.expand(then) for said, then in _ADVICE.items() if (found := re.search(said, text))
    ]
    raise VitlensError("; ".join([f"{command[0]}: {redacted(text)}", *advice]))
