"""Programs and a mailbox on loopback that take notices."""

from __future__ import annotations

import ipaddress
import socket
import socketserver
import ssl
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"  # of 24 bytes; no one else's


@dataclass
class Receiver:
    """A program on loopback that takes notices."""

    url: str = ""
    status: int = 200
    taken: list[tuple[dict[str, str], bytes]] = field(default_factory=list)


@contextmanager
def receiving(status: int = 200, tls: ssl.SSLContext | None = None) -> Generator[Receiver]:
    receiver = Receiver(status=status)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            receiver.taken.append(({k.lower(): v for k, v in self.headers.items()}, body))
            self.send_response(receiver.status)
            if 300 <= receiver.status < 400:
                self.send_header("Location", f"{receiver.url}/elsewhere")
            self.end_headers()

        do_GET = do_POST  # what a redirect would become

        def log_message(self, format: str, *args: object) -> None:
            pass

    class Server(HTTPServer):
        def get_request(self) -> tuple[socket.socket, object]:
            connection, address = super().get_request()
            return (_handshaken(connection, tls) if tls else connection), address

    server = Server(("127.0.0.1", 0), Handler)
    scheme = "https" if tls else "http"
    receiver.url = f"{scheme}://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield receiver
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@dataclass
class Mailbox:
    """A server of mail on loopback: what it was told before the mails, and the mails."""

    port: int = 0
    commands: list[bytes] = field(default_factory=list)
    mails: list[bytes] = field(default_factory=list)


@contextmanager
def taking_mail(
    tls: ssl.SSLContext | None = None, *, starttls: bool = False, refused: bytes = b""
) -> Generator[Mailbox]:
    """Take mails by the commands of smtplib, under TLS where there is a context for it.

    Args:
        starttls: TLS begins by the command, not with the connection.
        refused: an address that mail is not taken for.
    """
    box = Mailbox()

    def talk(connection: socket.socket) -> None:
        if tls and not starttls:
            connection = _handshaken(connection, tls)
        connection.sendall(b"220 ready\r\n")
        lines = connection.makefile("rb")
        while line := lines.readline():
            box.commands.append(line)
            word = line[:4].upper()
            if word == b"RCPT" and refused and refused in line:
                connection.sendall(b"550 no such address\r\n")
                continue
            is_open = starttls and not isinstance(connection, ssl.SSLSocket)
            connection.sendall(_answer(word, b"STARTTLS" if is_open else b"AUTH PLAIN"))
            if word == b"STAR" and tls:
                connection = _handshaken(connection, tls)
                lines = connection.makefile("rb")
            elif word == b"DATA":
                box.mails.append(b"".join(iter(lines.readline, b".\r\n")))
                connection.sendall(b"250 ok\r\n")
            elif word == b"QUIT":
                return

    with talking(talk) as box.port:
        yield box


def _answer(word: bytes, offered: bytes) -> bytes:
    """What a server of mail says to the first letters of a command."""
    answers = {
        b"EHLO": b"250-mailbox\r\n250 %b" % offered,
        b"STAR": b"220 go on",
        b"AUTH": b"235 welcome",
        b"DATA": b"354 go on",
        b"QUIT": b"221 bye",
    }
    return answers.get(word, b"250 ok") + b"\r\n"


@contextmanager
def talking(talk: Callable[[socket.socket], None]) -> Generator[int]:
    """Treat every connection by a function, until it returns or the client has gone."""

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            try:
                talk(self.request)
            except OSError:
                self.request.close()

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True

    with Server(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join()


def _handshaken(connection: socket.socket, tls: ssl.SSLContext) -> socket.socket:
    connection.settimeout(10)
    return tls.wrap_socket(connection, server_side=True)


def certified(folder: Path, address: str = "127.0.0.1") -> tuple[ssl.SSLContext, Path]:
    """A server's side of TLS with a certificate of its own, and the file of the certificate."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "receiver")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(address))]), False
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), True)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    file, key_file = folder / "certificate.pem", folder / "certificate.key"
    file.write_bytes(certificate.public_bytes(pem))
    key_file.write_bytes(
        key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file, key_file)
    return context, file
