"""What plugin authors may rely on changes on purpose only: in the snapshot, and in the changelog."""

from __future__ import annotations

import re

from tests.core.public_api import SNAPSHOT, described, digest
from tests.support.core.signatures import private_types
from tests.support.tools import PROJECT

ADVICE = "write the snapshot again with 'python -m tests.core.public_api', and say in CHANGELOG.md what changed"


def test_the_public_interface_is_the_one_of_the_snapshot() -> None:
    assert described().splitlines() == SNAPSHOT.read_text(encoding="utf-8").splitlines(), ADVICE


def test_the_changelog_knows_this_interface() -> None:
    changelog = (PROJECT / "CHANGELOG.md").read_text(encoding="utf-8")
    newest = re.search(r"public interface ([0-9a-f]{12})", changelog)
    assert newest is not None
    assert newest[1] == digest(SNAPSHOT.read_text(encoding="utf-8")), ADVICE


def test_the_snapshot_names_what_authors_write() -> None:
    text = SNAPSHOT.read_text(encoding="utf-8")
    for line in (
        "class Loader(ABC)",
        "    sniff(self, source: Source) -> int",
        "    transform(self, tensors: Mapping[str, Any]) -> Array | Grid",
        "class LazyTensor",
        "    strides: tuple[int, ...] | None = None",
        "torch2grid_written(self, page: Page, path: Path, run: Settings) -> None",
        "class Lazy",
    ):
        assert f"\n{line}\n" in text, line
    assert " at 0x" not in text


def test_no_public_signature_mentions_a_private_type() -> None:
    assert private_types() == []
