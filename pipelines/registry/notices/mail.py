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
        return self

    def check(self) -> None:
        if self.password_file:
            secret(self.password_file)

    def send(self, notice: Notice) -> None:
        mail = EmailMessage()
        mail["From"], mail["To"] = self.sender, ", ".join(self.to)
        mail["Subject"] = " ".join(notice.title.split())
        mail["Message-ID"] = f"<{notice.id.replace('/', '.')}@vitlens>"
        mail.set_content(notice.text)
        kind = smtplib.SMTP_SSL if self.security == "tls" else smtplib.SMTP
        with kind(self.host, self.port, timeout=TIMEOUT_S) as server:
            if self.security == "starttls":
                server.starttls(context=ssl.create_default_context())
            if self.password_file:
                server.login(self.user, secret(self.password_file))
            server.send_message(mail)
