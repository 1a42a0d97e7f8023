"""Whatever a server does wrong ends in the result of the local file, or in one line, and soon."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.support.remote import installed
from tests.support.remote.buckets import bucket
from tests.support.remote.hub import hub
from tests.support.remote.models import write
from tests.support.remote.server import Request, Server, serving
from tests.support.tools import torch2grid

PATIENCE = {"TORCH2GRID_REMOTE_TIMEOUT": "1.5"}  # seconds of silence, of 30
BEHIND = 100_000  # where no header is
LONGER = {"TORCH2GRID_REMOTE_TIMEOUT": "10"}  # for servers that are not silent, on a machine that has other work, too


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("local")
    write(folder, "safetensors")
    return stats(folder / "model.safetensors", folder).stdout


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Server]:
    (tmp_path / "www").mkdir()
    write(tmp_path / "www", "safetensors")
    with serving(tmp_path / "www") as found:
        yield found


def stats(location: object, cwd: Path, *words: object, **environment: str) -> subprocess.CompletedProcess[str]:
    words = ("--stats", "--quiet", "--jobs", 1, *words)
    return torch2grid(location, *words, cwd=cwd, path=installed(cwd), env={**PATIENCE, **environment}, timeout=60)


def one_line(done: subprocess.CompletedProcess[str], *parts: str) -> None:
    assert done.returncode == 1, done.stdout
    assert done.stderr.count("\n") == 1, done.stderr
    assert all(part in done.stderr for part in parts), done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("after", [0, BEHIND])
@pytest.mark.parametrize("fault", ["reset", "cut", "hang up", "503", "429", "500", "stall", "pause", "shorter", "longer"])
def test_what_passes_is_asked_for_again(fault: str, after: int, served: Server, expected: str, tmp_path: Path) -> None:
    served.fault, served.after, served.times = fault, after, 1 if fault in ("stall", "pause") else 2
    done = stats(f"{served.url}/model.safetensors", tmp_path)
    assert (done.returncode, done.stderr, done.stdout) == (0, "", expected)
    assert served.times == 0


def test_only_the_missing_bytes_are_asked_for_again(served: Server, expected: str, tmp_path: Path) -> None:
    served.fault, served.after, served.times = "cut", BEHIND, 3
    done = stats(f"{served.url}/model.safetensors", tmp_path)
    assert done.stdout == expected
    whole = (served.folder / "model.safetensors").stat().st_size
    assert served.sent <= 1.01 * whole + 120_000


def test_retry_after_is_waited_for(served: Server, expected: str, tmp_path: Path) -> None:
    served.fault, served.after, served.times = "503", BEHIND, 1
    begun = time.monotonic()
    assert stats(f"{served.url}/model.safetensors", tmp_path).stdout == expected
    assert time.monotonic() - begun > 1


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        ("503", "answers 503 Service Unavailable"),
        ("500", "answers 500 Internal Server Error"),
        ("hang up", "breaks off the connection"),
        ("stall", "is silent for"),
        ("401", "answers 401 Unauthorized"),
        ("403", "answers 403 Forbidden"),
        ("no ranges", "sends the whole file where a part of it is asked for"),
        ("other bytes", "sends other bytes than it is asked for"),
        ("compressed", "sends it compressed"),
    ],
)
@pytest.mark.parametrize("after", [0, BEHIND])
def test_what_does_not_pass_is_one_line(fault: str, told: str, after: int, served: Server, tmp_path: Path) -> None:
    served.fault, served.after = fault, after
    begun = time.monotonic()
    waits = {} if fault == "stall" else LONGER
    one_line(stats(f"{served.url}/model.safetensors", tmp_path, **waits), f"{served.url}/model.safetensors", told)
    assert time.monotonic() - begun < 60
    if fault == "no ranges" and not after:
        assert served.sent < 6_000_000  # what a socket holds: it is not read


def test_with_workers_it_is_one_line_too(served: Server, tmp_path: Path) -> None:
    served.fault, served.after = "503", BEHIND
    done = stats(f"{served.url}/model.safetensors", tmp_path, "--jobs", 2)
    one_line(done, "answers 503")


def test_a_replaced_file_is_noticed(served: Server, tmp_path: Path) -> None:
    path = served.folder / "model.safetensors"
    for fault in ("", "weak"):  # by If-Match, and by the ETag of the answer
        served.fault = fault
        served.forget()

        def answer(handler: object, request: object) -> bool:
            if len(served.requests) == 3:
                path.touch()
            return False

        served.answer = answer
        one_line(stats(f"{served.url}/model.safetensors", tmp_path), "changed while it was being read")
    served.fault, served.answer, served.after = "grown", None, BEHIND
    one_line(stats(f"{served.url}/model.safetensors", tmp_path), "changed while it was being read")


def test_a_missing_file_is_one_line(served: Server, tmp_path: Path) -> None:
    one_line(stats(f"{served.url}/nothing.pth?token=SECRET", tmp_path), f"{served.url}/nothing.pth: is not there")


def test_no_server_is_one_line(tmp_path: Path) -> None:
    one_line(stats("http://127.0.0.1:9/x.pth", tmp_path), "http://127.0.0.1:9/x.pth: the server refuses the connection")
    one_line(stats("https:///x.pth", tmp_path), "names no server")
    one_line(stats("http://[::1/x.pth", tmp_path), "is not an address")
    one_line(stats("https://user:SECRET@127.0.0.1:99999/x.pth", tmp_path), "https://127.0.0.1:99999/x.pth: is not an address")


@pytest.mark.parametrize("status", ["here", "elsewhere"])
def test_a_redirect_is_followed_and_kept(status: str, served: Server, expected: str, tmp_path: Path) -> None:
    with serving(served.folder) as other:
        served.fault, served.elsewhere = "redirect", other.url
        done = stats(f"{served.url.replace('//', '//me:SECRET@')}/model.safetensors", tmp_path)
        assert (done.returncode, done.stderr, done.stdout) == (0, "", expected)
        assert len(served.requests) == 1
        assert all("authorization" not in each.headers for each in other.requests)
        assert served.requests[0].headers["authorization"].startswith("Basic ")


def test_redirects_that_do_not_end_or_are_no_addresses(served: Server, tmp_path: Path) -> None:
    served.fault, served.elsewhere = "redirect", served.url
    one_line(stats(f"{served.url}/model.safetensors", tmp_path), "is redirected more than 5 times")
    served.elsewhere = "file:///etc/passwd"
    done = stats(f"{served.url}/model.safetensors", tmp_path)
    one_line(done, "is redirected to file:///etc/passwd")
    assert "SECRET" not in done.stderr


def test_an_expired_address_is_asked_for_again(tmp_path: Path, expected: str) -> None:
    folder = tmp_path / "owner" / "name"
    folder.mkdir(parents=True)
    write(folder, "safetensors")
    with hub(tmp_path) as found:
        count = 0

        def expiring(handler: object, request: object) -> bool:
            nonlocal count
            count += 1
            if count == 3:
                found.valid = "2"
            return found.at_store(handler, request)  # type: ignore[arg-type]

        found.store.answer = expiring
        done = stats("hf://owner/name/model.safetensors", tmp_path, **found.environment)
        assert (done.returncode, done.stderr, done.stdout) == (0, "", expected)
        assert 2 <= sum("resolve" in each.path for each in found.web.requests) <= 10
        assert any(each.status == 403 for each in found.store.requests)


def test_a_replaced_object_of_s3_is_noticed(tmp_path: Path, expected: str) -> None:
    write(tmp_path, "safetensors")
    with bucket() as stored:
        stored.put(tmp_path / "model.safetensors", "m.safetensors")
        done = stats("s3://models/m.safetensors", tmp_path, **stored.environment)
        assert (done.returncode, done.stderr, done.stdout) == (0, "", expected)
        from torch2grid_core import LoadError
        from torch2grid_remote.s3 import S3

        with pytest.MonkeyPatch.context() as patch:
            for name, value in stored.environment.items():
                patch.setenv(name, value)
            opened = S3().open("s3://models/m.safetensors")
            stored.client.put_object(Bucket="models", Key="m.safetensors", Body=bytes(opened.size))
            with pytest.raises(LoadError, match="changed while it was being read"):
                opened.read(2_000_000, 100)


def test_nothing_in_s3_is_one_line(tmp_path: Path) -> None:
    with bucket() as stored:
        for location in ("s3://models/none.pth", "s3://nobody/none.pth", "s3://models/"):
            one_line(stats(location, tmp_path, **stored.environment), "is not there")
        one_line(stats("s3:///x", tmp_path, **stored.environment), "does not name a bucket")


class InFront:
    """Answers as S3 does, with the files of a folder as objects, and misbehaves as its server does. endless: the status of an
    answer without an end.
    """

    def __init__(self, served: Server) -> None:
        self.served, self.endless = served, ""
        self.environment = {
            "AWS_ENDPOINT_URL": served.url,
            "AWS_ACCESS_KEY_ID": "nobody",
            "AWS_SECRET_ACCESS_KEY": "nothing",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
        }
        served.answer = self.answer

    def answer(self, handler: Any, request: Request) -> bool:
        if not self.endless:
            request.path = request.path.removeprefix("/models")
            return False
        handler.send_response(int(self.endless))
        handler.send_header("Content-Type", "application/xml")
        handler.end_headers()
        handler.close_connection = True
        while not self.served.stopped.is_set():
            handler.wfile.write(b"<a/>" * 65536)
            request.sent += 1 << 18
        return True


@pytest.mark.parametrize("fault", ["reset", "cut", "hang up", "503", "stall", "pause"])
def test_what_passes_is_asked_for_again_of_s3(fault: str, served: Server, expected: str, tmp_path: Path) -> None:
    pytest.importorskip("s3fs")
    served.fault, served.after, served.times = fault, BEHIND, 1
    done = stats("s3://models/model.safetensors", tmp_path, **InFront(served).environment)
    assert (done.returncode, done.stderr, done.stdout) == (0, "", expected)
    assert served.times == 0


@pytest.mark.parametrize(("fault", "told"), [("503", "answers 503"), ("stall", "is silent"), ("403", "answers 403")])
@pytest.mark.parametrize("after", [0, BEHIND])
def test_what_does_not_pass_is_one_line_of_s3(fault: str, told: str, after: int, served: Server, tmp_path: Path) -> None:
    pytest.importorskip("s3fs")
    served.fault, served.after = fault, after
    begun = time.monotonic()
    waits = {} if fault == "stall" else LONGER
    one_line(stats("s3://models/model.safetensors", tmp_path, **waits, **InFront(served).environment), told)
    assert time.monotonic() - begun < 60


@pytest.mark.parametrize("status", ["404", "500", "200"])
def test_an_answer_of_s3_without_an_end_is_not_read(status: str, served: Server, tmp_path: Path) -> None:
    pytest.importorskip("s3fs")
    store = InFront(served)
    store.endless = status
    one_line(stats("s3://models/folder/", tmp_path, **store.environment), "s3://models/folder")
    assert max(each.sent for each in served.requests) < 30_000_000  # with what the sockets hold


HEAD_OF = b"HTTP/1.1 206 Partial Content\r\nContent-Length: 5\r\nContent-Range: bytes 0-4/%s\r\n\r\nhello"
MOVED = b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\nLocation: %s\r\n\r\n"
BUSY = b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\nRetry-After: %s\r\n\r\n"


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (HEAD_OF % (b"9" * 5000), "sends other bytes than it is asked for"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: \xb2\r\n\r\nxx", "sends the whole file"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: " + b"9" * 5000 + b"\r\n\r\nxx", "sends the whole file"),
        (MOVED % b"http://[::1/x", "is redirected to something that is not an address"),
        (MOVED % b"http://127.0.0.1:99999/x", "is redirected to something that is not an address"),
        (MOVED % b"http://me:SEC/RET@127.0.0.1/x", "is redirected to something that is not an address"),
        (MOVED % b"ftp://me@127.0.0.1/x?SECRET", "is redirected to ftp://127.0.0.1/x, and torch2grid does not follow"),
        (MOVED % b"http://a b\x7f/x", "is not an address that can be requested"),
        (MOVED % (b"http://" + b"a" * 300 + b".x/"), "is not an address that can be requested"),
        (BUSY % b"\xb2", "answers 503"),
        (BUSY % b"Mon, 01 Jan 99999 00:00:00 GMT", "answers 503"),
        (BUSY % b"999999999999", "answers 503"),
    ],
)
def test_numbers_and_addresses_that_are_none_are_the_servers_fault(
    answer: bytes, told: str, served: Server, tmp_path: Path
) -> None:
    def say(handler: Any, request: object) -> bool:
        handler.wfile.write(answer)
        handler.close_connection = True
        return True

    served.answer = say
    one_line(stats(f"{served.url}/model.safetensors", tmp_path), f"{served.url}/model.safetensors: ", told)


@pytest.mark.parametrize("what", ["head", "continue", "body", "listing"])
def test_a_server_that_sends_a_byte_now_and_then_is_silent(what: str, served: Server, tmp_path: Path) -> None:
    first = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 9999\r\n\r\n" if what == "listing" else b""
    if what == "body":
        first = b"HTTP/1.1 206 Partial Content\r\nContent-Length: 20480\r\nContent-Range: bytes 0-20479/9999999\r\n\r\n"
    each = b"HTTP/1.1 100 Continue\r\n\r\n" if what == "continue" else b"x"

    def drip(handler: Any, request: object) -> bool:
        handler.wfile.write(first)
        while not served.stopped.wait(0.2):
            handler.wfile.write(each)
            handler.wfile.flush()
        return True

    served.answer = drip
    place = "folder/" if what == "listing" else "model.safetensors"
    begun = time.monotonic()
    one_line(stats(f"{served.url}/{place}", tmp_path), "sends next to nothing for")
    assert time.monotonic() - begun < 20


def test_a_store_without_if_match_is_noticed_by_its_version(tmp_path: Path) -> None:
    write(tmp_path, "safetensors")
    data, count = (tmp_path / "model.safetensors").read_bytes(), 0

    def other_each_time(handler: Any, request: Request) -> bool:
        nonlocal count
        count += 1
        last = min(request.last, len(data) - 1)
        headers = {"ETag": f'"{count}"', "Content-Range": f"bytes {request.first}-{last}/{len(data)}"}
        handler.say(request, 206, data[request.first : last + 1], **headers)
        return True

    keys = {"AWS_ACCESS_KEY_ID": "me", "AWS_SECRET_ACCESS_KEY": "me", "AWS_DEFAULT_REGION": "us-east-1"}
    with serving(tmp_path) as store:
        store.answer = other_each_time
        done = stats("s3://models/model.safetensors", tmp_path, AWS_ENDPOINT_URL=store.url, **keys)
        one_line(done, "s3://models/model.safetensors: changed while it was being read")
