"""What runs ``check`` elsewhere: pre-commit itself runs the hook, and the action's steps run here."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from safetensors.numpy import save_file

PROJECT = Path(__file__).parents[2]
HOOKS = yaml.safe_load((PROJECT / ".pre-commit-hooks.yaml").read_text())
ACTION = yaml.safe_load((PROJECT / "action.yml").read_text())


@pytest.fixture
def models(tmp_path: Path) -> Path:
    rng = np.random.default_rng(5)
    weights = rng.normal(size=(20, 30)).astype(np.float32) * 0.02
    folder = tmp_path / "repository" / "models"
    folder.mkdir(parents=True)
    save_file({"fc.weight": weights}, folder / "good one.safetensors")
    weights = weights.copy()
    weights[2, 3] = np.nan
    save_file({"fc.weight": weights}, folder / "ill.safetensors")
    return folder.parent


def environment(**changes: str) -> dict[str, str]:
    """As after an installation: the command is on the path."""
    return {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}", **changes}


def run(words: list[str], folder: Path, **changes: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        words, cwd=folder, env=environment(**changes), capture_output=True, text=True, timeout=300, check=False
    )


def step(identity: str) -> dict[str, Any]:
    (found,) = [each for each in ACTION["runs"]["steps"] if each.get("id") == identity]
    return found


def act(folder: Path, models: str, arguments: str = "") -> tuple[subprocess.CompletedProcess[str], Path]:
    """The step that checks, as a runner of GitHub does it."""
    given = {"models": models, "arguments": arguments, "sarif": ACTION["inputs"]["sarif"]["default"]}
    env = {key: given[value.removeprefix("${{ inputs.").removesuffix(" }}")] for key, value in step("check")["env"].items()}
    script = folder / ".step.sh"
    script.write_text(step("check")["run"])
    output, summary = folder.parent / "output", folder.parent / "summary"
    env.update(GITHUB_OUTPUT=str(output), GITHUB_STEP_SUMMARY=str(summary), GITHUB_ACTION_PATH=str(PROJECT))
    bash = shutil.which("bash") or "bash"
    return run([bash, "--noprofile", "--norc", "-eo", "pipefail", str(script)], folder, **env), summary


def test_the_action_finds_annotates_and_writes_its_reports(models: Path) -> None:
    done, summary = act(models, "models/*.safetensors")
    assert done.returncode == 1, done.stderr
    assert (
        "::error file=models/ill.safetensors,title=T101 nan::fc.weight[2, 3]: 1 of 600 weights is NaN"
        in done.stdout.splitlines()
    )
    results = json.loads((models / "torch2grid.sarif").read_text())["runs"][0]["results"]
    assert [result["ruleId"] for result in results] == ["T101"]
    assert "good one.safetensors" in summary.read_text()
    assert "sarif=torch2grid.sarif" in (models.parent / "output").read_text()


def test_the_action_passes_what_is_clean_with_arguments_and_names_of_spaces(models: Path) -> None:
    (models / "e.yaml").write_text("tensors: 1")
    done, _ = act(models, "models/good one.safetensors\n\n", "--expect e.yaml --fail-on warning")
    assert done.returncode == 0, done.stdout + done.stderr
    done, _ = act(models, "models/none.safetensors")
    assert done.returncode == 2
    done, _ = act(models, "$(touch hacked)\n--format=json\nmodels/good one.safetensors")
    assert done.returncode == 2
    assert not (models / "hacked").exists()


def test_the_action_takes_arguments_of_several_lines_and_words_of_spaces(models: Path) -> None:
    (models / "what is expected.yaml").write_text("tensors: 2")
    arguments = "--fail-on warning\r\n--select T1\n\n--expect 'what is expected.yaml'\n"
    done, _ = act(models, "models/good one.safetensors\r\n  \r\n", arguments)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "title=T402 expected::it has 1 tensor, 2 are expected" in done.stdout
    done, _ = act(models, "models/good one.safetensors", "--expect 'what")
    assert done.returncode == 2
    assert done.stdout == "::error::arguments: a quote is not closed\n"
    done, _ = act(models, "models/good one.safetensors", "$(touch hacked) `touch hacked` ; touch hacked")
    assert done.returncode == 2
    assert not (models / "hacked").exists()


def test_the_action_installs_what_lies_beside_it() -> None:
    (install,) = [each for each in ACTION["runs"]["steps"] if each["name"] == "Install torch2grid"]
    paths = [
        word.strip('"').replace("$GITHUB_ACTION_PATH", str(PROJECT)) for word in install["run"].split() if "GITHUB" in word
    ]
    assert [(Path(path) / "pyproject.toml").is_file() for path in paths] == [True, True, True]


def test_the_hook_installs_what_lies_beside_it() -> None:
    (hook,) = HOOKS
    beside = [PROJECT, *(PROJECT / path for path in hook["additional_dependencies"])]  # pip is run in the clone
    names = [re.search(r'^name = "(.*)"', (path / "pyproject.toml").read_text(), re.MULTILINE) for path in beside]
    assert [found and found[1] for found in names] == ["torch2grid", "torch2grid-core", "torch2grid-builtin"]


def test_pre_commit_runs_the_hook(models: Path) -> None:
    if shutil.which("pre-commit", path=environment()["PATH"]) is None:
        pytest.skip("pre-commit is not installed")
    (hook,) = HOOKS
    local = {**hook, "language": "system", "additional_dependencies": []}  # the hook of a clone would install it first
    (models / ".pre-commit-config.yaml").write_text(yaml.safe_dump({"repos": [{"repo": "local", "hooks": [local]}]}))
    run(["git", "init", "-q"], models)
    (models / "models" / "notes.txt").write_text("no model")
    run(["git", "add", "models/good one.safetensors", "models/notes.txt", ".pre-commit-config.yaml"], models)
    home = {"PRE_COMMIT_HOME": str(models.parent / "cache")}
    done = run(["pre-commit", "run"], models, **home)
    assert done.returncode == 0, done.stdout
    assert "Passed" in done.stdout
    run(["git", "add", "models/ill.safetensors"], models)
    done = run(["pre-commit", "run"], models, **home)
    assert done.returncode == 1
    assert "models/ill.safetensors: T101 error fc.weight[2, 3]" in done.stdout
    assert "notes.txt" not in done.stdout
