"""https:// with a certificate that nobody signed, and by a proxy."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.support.remote import installed
from tests.support.remote.models import write
from tests.support.remote.secure import Proxy, certificate, proxy
from tests.support.remote.server import serving
from tests.support.tools import torch2grid

LOCATION = "https://127.0.0.1:8443/model.safetensors?token=HIDDEN"


@dataclass
class Place:
    """A server that is reached by a proxy alone, and the certificate that it shows."""

    folder: Path
    proxy: Proxy
    certificate: Path

    def tree(self, **environment: str) -> subprocess.CompletedProcess[str]:
        alone = {"NO_PROXY": "", "no_proxy": "", "TORCH2GRID_REMOTE_TIMEOUT": "2"}
        path = installed(self.folder)
        return torch2grid("tree", LOCATION, cwd=self.folder, path=path, env={**alone, **environment}, timeout=60)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    (tmp_path / "www").mkdir()
    write(tmp_path / "www", "safetensors")
    made = certificate(tmp_path)
    with serving(tmp_path / "www") as served, proxy(served.url, made) as found:
        yield Place(tmp_path, found, made)


def one_line(done: subprocess.CompletedProcess[str], told: str) -> None:
    assert (done.returncode, done.stderr.count("\n")) == (1, 1), done.stderr
    assert f"https://127.0.0.1:8443/model.safetensors: {told}" in done.stderr
    assert "HIDDEN" not in done.stderr


def test_by_a_proxy_and_with_the_certificate_it_works(place: Place) -> None:
    done = place.tree(HTTPS_PROXY=f"http://me:HID%2FDEN@{place.proxy.url}", SSL_CERT_FILE=str(place.certificate))
    assert done.returncode == 0, done.stderr
    assert "HIDDEN" not in done.stderr
    assert "embed.weight" in done.stdout
    assert set(place.proxy.asked) == {("127.0.0.1:8443", "Basic bWU6SElEL0RFTg==")}


def test_a_certificate_that_nobody_signed_is_one_line(place: Place) -> None:
    one_line(place.tree(HTTPS_PROXY=place.proxy.url), "the server's certificate is not trusted: self-signed certificate")


def test_a_proxy_that_refuses_is_one_line(place: Place) -> None:
    place.proxy.refuses = 407
    one_line(place.tree(HTTPS_PROXY=f"http://{place.proxy.url}"), "the proxy answers 407 Proxy Authentication Required")


@pytest.mark.parametrize(
    ("address", "told"),
    [
        ("http://me:HIDDEN@127.0.0.1:9", "the proxy 127.0.0.1:9 refuses the connection"),
        ("http://me:HIDDEN@127.0.0.1:99999", "the proxy of the environment is not an http:// address"),
        ("http://127.0.0.1:0", "the proxy of the environment is not an http:// address"),
        ("socks5://127.0.0.1:9", "the proxy of the environment is not an http:// address"),
    ],
)
def test_a_proxy_that_is_none_is_one_line(address: str, told: str, place: Place) -> None:
    one_line(place.tree(HTTPS_PROXY=address), told)


def test_without_tls_it_is_one_line(tmp_path: Path) -> None:
    write(tmp_path, "safetensors")
    with serving(tmp_path) as served:
        location = f"{served.url.replace('http', 'https')}/model.safetensors"
        environment = {"TORCH2GRID_REMOTE_TIMEOUT": "2"}
        done = torch2grid("tree", location, cwd=tmp_path, path=installed(tmp_path), env=environment, timeout=60)
        assert (done.returncode, done.stderr.count("\n")) == (1, 1), done.stderr
        assert "the server does not speak TLS" in done.stderr
