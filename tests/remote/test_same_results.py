"""What every source gives is what the local file gives, bit by bit."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.support.remote import installed
from tests.support.remote.buckets import bucket
from tests.support.remote.hub import hub
from tests.support.remote.models import FORMS, write
from tests.support.remote.server import serving
from tests.support.tools import PROJECT, torch2grid

GGUF = PROJECT / "plugins" / "torch2grid_gguf" / "src"
KINDS = ("https", "hf", "s3")


@dataclass
class Places:
    """Where the same files are."""

    folder: Path
    paths: dict[str, str]
    locations: dict[str, str]
    environment: dict[str, str]

    def at(self, kind: str, form: str) -> str:
        return f"{self.locations[kind]}/{self.paths[form]}{'/' * (kind == 'https' and form in ('shards', 'dcp'))}"


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Places]:
    root = tmp_path_factory.mktemp("served")
    folder = root / "owner" / "name"
    folder.mkdir(parents=True)
    paths = {form: write(folder, form) for form in FORMS}
    with serving(folder) as web, hub(root) as found, bucket() as stored:
        stored.put(folder, "a/b")
        yield Places(
            folder,
            paths,
            {"local": str(folder), "https": web.url, "hf": "hf://owner/name", "s3": "s3://models/a/b"},
            {**found.environment, **stored.environment},
        )


def results(location: str, out: Path, form: str, environment: Mapping[str, str], jobs: int = 1) -> dict[str, str]:
    """The digest of each file of ``--stats`` and a picture; with one job what ``check`` and ``tree`` say, too."""
    more = ["--load-plugin", GGUF / "torch2grid_gguf" / "plugin.py"] if form == "gguf" else []
    path = [*installed(out), *([GGUF] if form == "gguf" else [])]
    found = {}
    for words in (["--stats"], ["--plugin", "atlas", "--output", out / "out"]):
        done = torch2grid(location, *words, "-q", "--jobs", jobs, *more, cwd=out, path=path, env=environment)
        assert (done.returncode, done.stderr) == (0, ""), done.stderr
        found[f"out {words[0]}"] = done.stdout.replace(str(out), "")
    for each in sorted((out / "out").rglob("*")):
        if each.is_file():
            found[str(each.relative_to(out))] = hashlib.sha256(each.read_bytes()).hexdigest()
    reports = (["check", location, "--format", "json"], ["tree", location, "--flat", "--format", "json"])
    for words in reports if jobs == 1 else ():
        done = torch2grid(*words, *more, cwd=out, path=path, env=environment)
        assert done.returncode in (0, 1), done.stderr
        assert not done.stderr.startswith("Error"), done.stderr
        found[words[0]] = re.sub(r'"[\w ]*seconds[\w ]*": [\d.]+', "", done.stdout.replace(location, "HERE"))
        assert json.loads(done.stdout)
    return found


@pytest.fixture(scope="module")
def local(places: Places, tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, str]]:
    return {
        form: results(f"{places.folder}/{places.paths[form]}", tmp_path_factory.mktemp("local"), form, {}) for form in FORMS
    }


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("kind", KINDS)
def test_figures_pictures_and_findings_are_those_of_the_local_file(
    kind: str, form: str, places: Places, local: dict[str, dict[str, str]], tmp_path: Path
) -> None:
    assert len(local[form]) > 3
    assert results(places.at(kind, form), tmp_path, form, places.environment) == local[form]


@pytest.mark.parametrize("form", ["safetensors", "dcp"])
@pytest.mark.parametrize("kind", KINDS)
def test_two_workers_give_the_same(
    kind: str, form: str, places: Places, local: dict[str, dict[str, str]], tmp_path: Path
) -> None:
    found = results(places.at(kind, form), tmp_path, form, places.environment, jobs=2)
    assert found == {name: each for name, each in local[form].items() if name.startswith("out")}
    assert found
