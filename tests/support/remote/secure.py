"""TLS with a certificate that nobody signed, and a proxy that is asked to connect."""

from __future__ import annotations

import contextlib
import datetime
import ipaddress
import select
import socket
import ssl
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import pytest

pytest.importorskip("cryptography")

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.support.answering import answering


def certificate(folder: Path) -> Path:
    """A file with a certificate for 127.0.0.1, signed by itself, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.datetime.now(datetime.timezone.utc)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False)
        .sign(key, hashes.SHA256())
    )
    plain = serialization.NoEncryption()
    secret = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain)
    path = folder / "server.pem"
    path.write_bytes(secret + made.public_bytes(serialization.Encoding.PEM))
    return path


class Proxy:
    """url: where it is. asked: what it was asked to connect to. refuses: the status that it answers with, 0: it connects."""

    def __init__(self) -> None:
        self.url, self.asked, self.refuses = "", list[tuple[str, str]](), 0


@contextlib.contextmanager
def proxy(secure: str, certificate: Path) -> Iterator[Proxy]:
    """A proxy, and behind it a server that speaks TLS in front of the one at *secure*."""
    found = Proxy()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:
            """Nothing."""

        def do_CONNECT(self) -> None:
            found.asked.append((self.path, self.headers.get("Proxy-Authorization", "")))
            if found.refuses:
                self.send_error(found.refuses)
                return
            self.send_response(200)
            self.end_headers()
            self.close_connection = True
            with contextlib.suppress(OSError), context.wrap_socket(self.connection, server_side=True) as ours:
                _both_ways(ours, urlsplit(secure))

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    with answering(server) as place:
        found.url = place
        yield found


def _both_ways(ours: ssl.SSLSocket, place: object) -> None:
    with socket.create_connection((place.hostname, place.port)) as theirs:  # type: ignore[attr-defined]
        ends = {ours: theirs, theirs: ours}
        while True:
            for each in [ours] if ours.pending() else select.select(list(ends), [], [])[0]:
                piece = each.recv(1 << 16)
                if not piece:
                    return
                ends[each].sendall(piece)
