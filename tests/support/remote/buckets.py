"""A store that speaks S3, by moto, in this process."""

from __future__ import annotations

import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("moto")
pytest.importorskip("s3fs")

import boto3
from moto.server import ThreadedMotoServer

KEY = "AKIANOBODYMAYSEETHIS"
SECRET = "nobody-may-see-this-either"


class Bucket:
    """A bucket at *url*. environment: for a command that asks it."""

    def __init__(self, url: str, name: str) -> None:
        self.url, self.name = url, name
        self.environment = {
            "AWS_ENDPOINT_URL": url,
            "AWS_ACCESS_KEY_ID": KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
        }
        self.client: Any = boto3.client(
            "s3", endpoint_url=url, aws_access_key_id=KEY, aws_secret_access_key=SECRET, region_name="us-east-1"
        )
        self.client.create_bucket(Bucket=name)

    def put(self, path: Path, key: str) -> None:
        """Store a file, or all of a folder below the prefix *key*."""
        for each in sorted(path.rglob("*")) if path.is_dir() else [path]:
            if each.is_file():
                name = key if path.is_file() else f"{key}/{each.relative_to(path)}"
                self.client.put_object(Bucket=self.name, Key=name, Body=each.read_bytes())


@contextmanager
def bucket(name: str = "models") -> Iterator[Bucket]:
    """A bucket, for as long as this lasts."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        urllib.request.urlopen(f"http://{host}:{port}/moto-api/reset", data=b"", timeout=30).close()  # of another server
        found = Bucket(f"http://{host}:{port}", name)
        yield found
        found.client.close()
    finally:
        server.stop()
