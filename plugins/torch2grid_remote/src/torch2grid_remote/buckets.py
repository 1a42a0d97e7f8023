"""gs:// and az:// locations. No test has asked their servers: the code is that of S3 without what only S3 has."""

from __future__ import annotations

from typing import ClassVar

from torch2grid_core import LoadError, SourceOpener
from torch2grid_core.sources import Source
from torch2grid_remote.addresses import split
from torch2grid_remote.files import NotThere, RemoteFolder, begun
from torch2grid_remote.filesystems import FilesystemStore
from torch2grid_remote.writing import BucketTarget


def opened(store: FilesystemStore, path: str) -> Source:
    """The object at *path*, or else the prefix. Raises ``LoadError``."""
    if path and not path.endswith("/"):
        try:
            return begun(store, path)
        except NotThere:
            pass  # it may be a prefix
    folder = RemoteFolder(store, path.rstrip("/"))
    _ = folder.entries
    return folder


def bucket_and_key(location: str) -> tuple[str, str]:
    """The bucket and the key of *location*. Raises ``LoadError``."""
    split(location)
    scheme, _, rest = location.partition("://")
    bucket, _, key = rest.partition("/")
    bucket = bucket.rpartition("@")[2]
    if not bucket:
        raise LoadError(location, "does not name a bucket", f"write {scheme}://bucket/key")
    if any(part in (".", "..") for part in key.split("/")):
        raise LoadError(f"{scheme}://{bucket}/{key}", "is not a key", f"write {scheme}://bucket/key")
    return bucket, key.lstrip("/")


class BucketOpener(SourceOpener):
    """Locations scheme://bucket/key, as those of *store*."""

    store: ClassVar[type[FilesystemStore]]

    def open(self, location: str) -> Source:
        """The object, or the prefix as a folder. Raises ``LoadError``."""
        bucket, key = bucket_and_key(location)
        store = self.store(bucket)
        store.settle()
        return opened(store, key)

    def target(self, location: str) -> BucketTarget:
        """The prefix, to write to. Raises ``LoadError``."""
        bucket, key = bucket_and_key(location)
        return BucketTarget(self.store(bucket), key)


class GsStore(FilesystemStore):
    """A bucket of Google Cloud Storage."""

    scheme: ClassVar[str] = "gs"
    module: ClassVar[str] = "gcsfs"
    extra: ClassVar[str] = "gs"


class AzStore(FilesystemStore):
    """A container of Azure Blob Storage."""

    scheme: ClassVar[str] = "az"
    module: ClassVar[str] = "adlfs"
    extra: ClassVar[str] = "az"


class Gs(BucketOpener):
    """gs://bucket/key: an object or a prefix in Google Cloud Storage"""

    name: ClassVar[str] = "gs"
    schemes: ClassVar[tuple[str, ...]] = ("gs",)
    store: ClassVar[type[FilesystemStore]] = GsStore


class Az(BucketOpener):
    """az://container/blob: a blob or a prefix in Azure Blob Storage"""

    name: ClassVar[str] = "az"
    schemes: ClassVar[tuple[str, ...]] = ("az",)
    store: ClassVar[type[FilesystemStore]] = AzStore
