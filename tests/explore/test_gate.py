"""The gate by raw sockets: whoever is not this machine's page gets nothing, and the server stays up."""

from __future__ import annotations

import contextlib
import re
import select
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.explore import Client, served
from tests.support.tools import DIGITS


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    with served(tmp_path_factory.mktemp("gate"), DIGITS) as found:
        yield found


def sent(client: Client, request: bytes, wait: float = 10, patience: float = 10) -> bytes:
    """The whole answer to raw bytes. patience: seconds of silence after which the server is told that nothing follows."""
    name, _, port = client.host.partition(":")
    with socket.create_connection((name, int(port)), timeout=wait) as made:
        made.sendall(request)
        parts = []
        with contextlib.suppress(TimeoutError, ConnectionResetError):
            while True:
                if not select.select([made], [], [], patience)[0]:
                    made.shutdown(socket.SHUT_WR)
                if not (part := made.recv(1 << 16)):
                    break
                parts.append(part)
        return b"".join(parts)


def request(client: Client, path: str = "/api/model", method: str = "GET", **headers: str) -> bytes:
    fields = {"host": client.host, "connection": "close", **{key.replace("_", "-"): value for key, value in headers.items()}}
    lines = "".join(f"{key}: {value}\r\n" for key, value in fields.items())
    return f"{method} {path} HTTP/1.1\r\n{lines}\r\n".encode("latin-1")


def status(answer: bytes) -> int:
    found = re.match(rb"HTTP/1\.1 (\d+)", answer)
    return int(found[1]) if found else 0


@pytest.fixture(scope="module")
def cookie(client: Client) -> str:
    answer = sent(client, request(client, f"/?token={client.token}"))
    assert status(answer) == 303
    found = re.search(rb"set-cookie: ([^;]+);([^\r]*)", answer)
    assert found is not None
    assert b"HttpOnly" in found[2]
    assert b"SameSite=Strict" in found[2]
    return found[1].decode()


def test_the_cookie_opens_the_page_and_every_answer_has_a_strict_policy(client: Client, cookie: str) -> None:
    for path in ("/", "/client/main.js", "/api/model", "/nothing"):
        answer = sent(client, request(client, path, cookie=cookie))
        assert status(answer) == (404 if path == "/nothing" else 200)
        head = answer.partition(b"\r\n\r\n")[0].lower()
        assert b"content-security-policy: default-src 'none'; script-src 'self';" in head
        assert b"unsafe" not in head
        assert b"x-content-type-options: nosniff" in head
        assert b"server:" not in head
    page = sent(client, request(client, "/", cookie=cookie))
    assert not re.search(rb"<script(?![^>]*src=)|<style|\son\w+=|style=", page)


def test_a_token_works_once(client: Client, cookie: str) -> None:
    assert status(sent(client, request(client, f"/?token={client.token}"))) == 403


REFUSED = {
    "no cookie": (403, {}),
    "a wrong cookie": (403, {"cookie": "torch2grid=1"}),
    "a foreign host": (421, {"host": "example.org"}),
    "a rebound name": (421, {"host": "rebound.example.org:80"}),
    "its port at another name": (421, {"host": "evil.localhost:{port}"}),
    "its name without the port": (421, {"host": "127.0.0.1"}),
    "another port": (421, {"host": "127.0.0.1:1"}),
    "an origin": (403, {"origin": "https://example.org"}),
    "an opaque origin": (403, {"origin": "null"}),
    "the origin by https": (403, {"origin": "https://127.0.0.1:{port}"}),
    "another site": (403, {"sec_fetch_site": "cross-site"}),
    "a sibling site": (403, {"sec_fetch_site": "same-site"}),
}


@pytest.mark.parametrize("name", REFUSED)
def test_strangers_are_refused(client: Client, cookie: str, name: str) -> None:
    code, headers = REFUSED[name]
    port = client.host.partition(":")[2]
    fields = {"cookie": cookie, **{key: value.replace("{port}", port) for key, value in headers.items()}}
    if name == "no cookie":
        del fields["cookie"]
    answer = sent(client, request(client, **fields))
    assert status(answer) == code
    assert b"tensors" not in answer


def test_the_token_is_no_key_for_strangers(client: Client, tmp_path: Path) -> None:
    with served(tmp_path, DIGITS) as other:
        assert status(sent(other, request(other, f"/?token={other.token}", host="example.org"))) == 421
        assert status(sent(other, request(other, f"/?token={other.token}", origin="https://example.org"))) == 403
        assert status(sent(other, request(other, f"/api/model?token={other.token}"))) == 403
        assert status(sent(other, request(other, f"/?token={other.token}&token={other.token}"))) == 403
        assert status(sent(other, request(other, "/?token="))) == 403
        assert status(sent(other, request(other, f"/?token={other.token}"))) == 303  # none of them used it up


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "TRACE", "CONNECT", "PATCH", "BREW"])
def test_odd_methods_are_refused(client: Client, cookie: str, method: str) -> None:
    assert status(sent(client, request(client, "/api/model", method, cookie=cookie))) in (400, 405)


@pytest.mark.parametrize(
    "path",
    [
        "/../../etc/passwd",
        "/client/../gate.py",
        "/client/..%2f..%2fplugin.py",
        "/client/%2e%2e/%2e%2e/plugin.py",
        "/client//etc/passwd",
        "/client/page.html",
        "/api/cells/0/0/0/0/9/9/mean;rm",
        "/api/cells/0/0/0/0/9/9/mean,mean",
        "/api/cells/-1/0/0/0/9/9/mean",
        "/api/cells/9/0/0/0/9/9/mean",
        "/api/cells/0/99/0/0/9/9/mean",
        "/api/cells/0/0/99999999/0/9/9/mean",
        "/api/cells/0/0/0/0/99999/99999/mean",
        "/api/cells/0/0/0/0/0/0/mean",
        "/api/cell/0/0/99999999999999999999/0",
        "/api/tensor/0/99999",
        "/api/limits/0/0/median/auto",
        "//example.org/",
        "/%00",
        "/" + "a" * 5000,
    ],
)
def test_addresses_lead_nowhere_but_to_what_is_looked_up(client: Client, cookie: str, path: str) -> None:
    answer = sent(client, request(client, path, cookie=cookie))
    assert status(answer) in (400, 404, 414), answer[:200]
    assert b"root:" not in answer
    assert b"import" not in answer
    assert b"Traceback" not in answer


@pytest.mark.parametrize(
    "raw",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/9.9\r\nhost: x\r\n\r\n",
        b"GET /" + b"\xff" * 40 + b" HTTP/1.1\r\nhost: {host}\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost: {host}\r\nhost: {host}\r\nconnection: close\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost: {host}\r\nx: " + b"y" * 100_000 + b"\r\n\r\n",
        b"GET http://example.org/ HTTP/1.1\r\nhost: example.org\r\nconnection: close\r\n\r\n",
        b"POST / HTTP/1.1\r\nhost: {host}\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    ],
)
def test_what_is_no_request_gets_no_answer_of_worth(client: Client, raw: bytes) -> None:
    answer = sent(client, raw.replace(b"{host}", client.host.encode()), wait=15, patience=3)
    assert status(answer) in (0, 400, 403, 404, 405, 414, 421, 431, 505), answer[:200]
    assert b"tensors" not in answer


def test_web_sockets_are_closed(client: Client, cookie: str) -> None:
    asked = request(
        client,
        "/",
        cookie=cookie,
        connection="upgrade",
        upgrade="websocket",
        sec_websocket_key="x" * 24,
        sec_websocket_version="13",
    )
    assert status(sent(client, asked, wait=3)) != 101


def test_slow_clients_and_500_connections_leave_it_up(client: Client, cookie: str) -> None:
    name, _, port = client.host.partition(":")
    held = []
    try:
        for number in range(500):
            try:
                made = socket.create_connection((name, int(port)), timeout=2)
                made.sendall(b"GET / HTTP/1.1\r\nhost: " if number % 2 else b"G")
                held.append(made)
            except OSError:
                continue
        assert held
        until = time.monotonic() + 30  # a request that does not arrive is given up after ten seconds
        while True:
            answer = b""
            with contextlib.suppress(OSError):
                answer = sent(client, request(client, cookie=cookie), wait=5)
            if status(answer) == 200:
                break
            assert time.monotonic() < until, "the server no longer answers its own page"
            time.sleep(0.5)
    finally:
        for made in held:
            made.close()
    assert client.process is not None
    assert client.process.poll() is None
    assert status(sent(client, request(client, cookie=cookie))) == 200
