"""What the distributions say of themselves, the citation, and the list of licences."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from tests.support.schemas import against
from tests.support.tools import PROJECT

tomllib = pytest.importorskip("tomllib", reason="tomllib came with Python 3.11")
FOLDERS = [PROJECT, PROJECT / "torch2grid_core", PROJECT / "torch2grid_builtin", *sorted(PROJECT.glob("plugins/*/"))]
DISTRIBUTIONS: dict[str, dict[str, Any]] = {
    folder.name: tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))["project"] for folder in FOLDERS
}
NOT_FOR_USERS = {"fuzz", "test", "bench", "mutation", "docs", "sbom"}
UNTESTED = {"gs", "az"}  # of torch2grid-remote: its README says so


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_every_distribution_carries_its_licence_and_says_where_it_lives(folder: Path) -> None:
    said = tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert (folder / "LICENSE").read_text() == (PROJECT / "LICENSE").read_text()
    assert said["license"] == "MIT"
    assert said["license-files"] == ["LICENSE"]
    assert (folder / said["readme"]).read_text(encoding="utf-8").startswith("# ")
    assert said["urls"] == DISTRIBUTIONS[PROJECT.name]["urls"]
    assert "Typing :: Typed" in said["classifiers"]
    assert list(folder.glob("src/*/py.typed"))


def test_the_citation_is_valid_and_of_this_version(tmp_path: Path) -> None:
    path = PROJECT / "CITATION.cff"
    assert against("vendor.citation-file-format", path) == ""
    cited, said = yaml.safe_load(path.read_text(encoding="utf-8")), DISTRIBUTIONS[PROJECT.name]
    assert (cited["version"], cited["license"], cited["repository-code"]) == (
        said["version"],
        said["license"],
        said["urls"]["Homepage"],
    )
    wrong = tmp_path / "CITATION.cff"
    wrong.write_text(path.read_text(encoding="utf-8").replace("authors:", "writers:"), encoding="utf-8")
    assert "authors" in against("vendor.citation-file-format", wrong)


def test_every_licence_is_listed() -> None:
    listed = {
        canonicalize_name(name)
        for name in re.findall(
            r"^\| (\S+) \| [\w.+]+ \| [^|]+ \|", (PROJECT / "docs" / "licences.md").read_text(), re.MULTILINE
        )
    }
    asked = set()
    for said in DISTRIBUTIONS.values():
        extras = said.get("optional-dependencies", {})
        for words in (said["dependencies"], *(extras[extra] for extra in extras.keys() - NOT_FOR_USERS - UNTESTED)):
            needed = (Requirement(each) for each in words)
            asked |= {
                canonicalize_name(each.name)
                for each in needed
                if each.marker is None or each.marker.evaluate({"python_version": "3.11"})
            }
    assert len(asked) > 15
    assert {name for name in asked - listed if not name.startswith("torch2grid")} == set()
