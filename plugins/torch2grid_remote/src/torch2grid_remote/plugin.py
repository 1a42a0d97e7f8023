"""What this distribution brings. Nothing that opens a socket, or that takes long to import, is imported here."""

from __future__ import annotations

from torch2grid_core import Lazy, hookimpl

_HERE = "torch2grid_remote"


@hookimpl
def torch2grid_sources() -> list[Lazy]:
    return [
        Lazy(f"{_HERE}.web:Web", "http", "a file or folder of a web server, by byte ranges", schemes=("https", "http")),
        Lazy(f"{_HERE}.hub:Hub", "hf", "a repository of the Hugging Face hub, or a file in it", schemes=("hf",)),
        Lazy(f"{_HERE}.s3:S3", "s3", "an object or a prefix in S3, or in a store that speaks its protocol", schemes=("s3",)),
        Lazy(f"{_HERE}.buckets:Gs", "gs", "an object or a prefix in Google Cloud Storage", schemes=("gs",)),
        Lazy(f"{_HERE}.buckets:Az", "az", "a blob or a prefix in Azure Blob Storage", schemes=("az",)),
    ]
