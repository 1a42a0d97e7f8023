"""The workflows of GitHub: valid, on every system and Python that is promised, and with no more rights than they need."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.support.schemas import against
from tests.support.tools import PROJECT

WORKFLOWS = sorted((PROJECT / ".github" / "workflows").glob("*.yml"))


def read(name: str) -> dict[str, Any]:
    return yaml.safe_load((PROJECT / ".github" / "workflows" / name).read_text(encoding="utf-8"))  # type: ignore[no-any-return]


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_a_workflow_is_valid(path: Path) -> None:
    assert against("vendor.github-workflows", path) == ""
    assert against("custom.github-workflows-require-timeout", path) == ""


def test_a_workflow_that_is_not_is_found(tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.yml"
    wrong.write_text("on: push\njobs:\n  a:\n    runs-on: ubuntu-latest\n    step: []\n", encoding="utf-8")
    assert "step" in against("vendor.github-workflows", wrong)


def test_the_tests_run_on_every_system_and_python() -> None:
    jobs = read("tests.yml")["jobs"]
    matrix = jobs["python"]["strategy"]["matrix"]
    assert matrix["python"] == ["3.10", "3.11", "3.12", "3.13", "3.14"]
    assert [system.partition("-")[0] for system in matrix["system"]] == ["ubuntu", "macos", "windows"]
    assert {"run": ".ci/run"} in jobs["whole"]["steps"]


def test_only_the_job_that_publishes_may_ask_for_an_identity() -> None:
    release = read("release.yml")
    assert [release["permissions"], read("tests.yml")["permissions"]] == [{"contents": "read"}] * 2
    assert {name for name, job in release["jobs"].items() if "permissions" in job} == {"publish"}
    assert release["jobs"]["publish"]["permissions"] == {"id-token": "write"}
    (upload,) = [step for step in release["jobs"]["publish"]["steps"] if "pypi-publish" in step["uses"]]
    assert upload["with"]["attestations"] is True
    assert "password" not in upload["with"]
    assert release["jobs"]["publish"]["needs"] == "build"
