"""No connection of ours leaves out whom it talks to: certificates are verified everywhere."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("vitlens_core", "pipelines", "workflows", "infra")
# Clients of the standard library that verify nobody unless they are given a context.
WITHOUT_CONTEXT = {"SMTP_SSL", "starttls", "FTP_TLS", "IMAP4_SSL", "POP3_SSL", "stls"}
# How a verification is left out, by whatever package: aiohttp, requests, boto3, MLflow, curl, …
LEFT_OUT = re.compile(
    r"""
    CERT_NONE | _create_unverified_context | _create_stdlib_context | check_hostname\s*=\s*False
    | \b(?:verify|verify_ssl|ssl|ssl_verify|tls_verify|verify_certs)["']?\s*[=:]\s*(?i:false)\b
    | (?i:insecure_?skip_?(?:tls_?)?verify | tls_?skip_?verify | tracking_insecure_tls
      | node_tls_reject_unauthorized)
    | \bcurl\b[^\n#]*\s(?:-k|--insecure)\b | --no-check-certificate | http\.sslVerify
    | PYTHONHTTPSVERIFY | --trusted-host | --allow-insecure-host
    """,
    re.VERBOSE,
)
TEXTS = {".py", ".sh", ".yaml", ".yml", ".toml", ".ini", ".json", ".md", ".txt", ""}


def files() -> list[Path]:
    """Our own programs, settings and pages, and what stands beside them."""
    found = [ROOT / "Makefile", ROOT / "README.md", ROOT / "pyproject.toml"]
    for folder in (*PACKAGES, "docs"):
        found += [p for p in (ROOT / folder).rglob("*") if p.is_file() and p.suffix in TEXTS]
    return found


def unverified(source: str) -> Iterator[str]:
    """What a program or a file of settings says that leaves a verification out."""
    yield from (match.group(0) for match in LEFT_OUT.finditer(source))


def without_context(source: str) -> Iterator[str]:
    """The clients that a program opens without a context."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute | ast.Name):
            called = node.func.attr if isinstance(node.func, ast.Attribute) else node.func.id
            given = {k.arg: ast.unparse(k.value) for k in node.keywords}
            if called in WITHOUT_CONTEXT and given.get("context", "None") == "None":
                yield ast.unparse(node)


def test_nothing_of_ours_leaves_a_verification_out() -> None:
    found = {
        f"{path.relative_to(ROOT)}: {said}"
        for path in files()
        for said in unverified(path.read_text(errors="replace"))
    }
    assert not found


def test_every_client_that_verifies_by_a_context_is_given_one() -> None:
    found = {
        f"{path.relative_to(ROOT)}: {call}"
        for package in PACKAGES
        for path in (ROOT / package).rglob("*.py")
        for call in without_context(path.read_text())
    }
    assert not found


@pytest.mark.parametrize(
    "said",
    [
        "requests.get(url, verify=False)",
        "boto3.client('s3', verify=False)",
        "aiohttp.TCPConnector(ssl=False)",
        "context.check_hostname = False",
        "context.verify_mode = ssl.CERT_NONE",
        "ssl._create_unverified_context()",
        "MLFLOW_TRACKING_INSECURE_TLS: 'true'",
        "insecureSkipVerify: true",
        "insecure_skip_verify: true",
        "curl -fsS -k https://example.com",
        "wget --no-check-certificate https://example.com",
        '{"verify": false}',
    ],
)
def test_what_leaves_a_verification_out_is_seen(said: str) -> None:
    assert list(unverified(said))


@pytest.mark.parametrize(
    "said",
    [
        "smtplib.SMTP_SSL(host, port)",
        "server.starttls()",
        "server.starttls(context=None)",
        "FTP_TLS('example.com')",
    ],
)
def test_a_client_without_a_context_is_seen(said: str) -> None:
    assert list(without_context(said)) == [said]


def test_a_client_with_a_context_may_be() -> None:
    assert not list(without_context("server.starttls(context=verified)"))
