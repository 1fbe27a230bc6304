"""mail: sends a notice as mail."""

from __future__ import annotations

import smtplib
import ssl
from email.message import EmailMessage
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator

from pipelines.registry.notices.base import TIMEOUT_S, Notice, Receiver, is_loopback, secret
from vitlens_core.errors import ConfigError


class Mail(Receiver):
    """Settings of a mailbox's server and of who gets the mail."""

    kind: Literal["mail"] = "mail"
    host: str = Field(description="server that takes the mail")
    port: int = Field(465, ge=1, le=65535, description="its port")
    security: Literal["tls", "starttls", "none"] = Field("tls", description="none: on loopback")
    sender: str = Field(description="address that it comes from")
    to: tuple[str, ...] = Field(min_length=1, description="addresses that get it")
    user: str = Field("", description="account on the server; empty: none is asked for")
    password_file: Path | None = Field(None, description="file with the account's password")

    @model_validator(mode="after")
    def _check_account(self) -> Self:
        if bool(self.user) != (self.password_file is not None):
            raise ConfigError("a mail's `user` and `password_file` are given both, or none")
        if self.security == "none" and not is_loopback(self.host):
            raise ConfigError(f"mail to {self.host} without TLS; expected tls or starttls")
        for address in (self.sender, *self.to):
            if not _is_address(address):
                raise ConfigError(f"{address!r} is no address of mail; expected name@example.com")
        return self

    def check(self) -> None:
        if self.password_file:
            secret(self.password_file)

    def send(self, notice: Notice) -> None:
        mail = EmailMessage()
        mail["From"], mail["To"] = self.sender, ", ".join(self.to)
        mail["Subject"] = " ".join(notice.title.split())
        mail["Date"] = notice.at
        mail["Message-ID"] = f"<{notice.id.replace('/', '.')}@vitlens>"
        mail["Auto-Submitted"] = "auto-generated"  # so that nobody's absence is answered
        mail.set_content(notice.text)
        with self._connected() as server:
            if self.password_file:
                server.login(self.user, secret(self.password_file))
            refused = server.send_message(mail)
        if refused:
            # Not tried again: those who have got it would get it twice.
            raise ConfigError(f"{self.host} refused {len(refused)} of {len(self.to)} addresses")

    def _connected(self) -> smtplib.SMTP:
        verified = ssl.create_default_context()  # without one, smtplib verifies no server
        if self.security == "tls":
            return smtplib.SMTP_SSL(self.host, self.port, timeout=TIMEOUT_S, context=verified)
        server = smtplib.SMTP(self.host, self.port, timeout=TIMEOUT_S)
        if self.security == "starttls":
            try:
                server.starttls(context=verified)
            except BaseException:
                server.close()
                raise
        return server


def _is_address(text: str) -> bool:
    """Whether a text is one address, with or without a name before it."""
    mail = EmailMessage()
    try:
        mail["To"] = text
        [address] = mail["To"].addresses
    except Exception:  # several, none, a line end; the parser raises IndexErrors as well
        return False
    return bool(address.username and address.domain) and not mail["To"].defects
