"""The kit in a script that holds the class: one more interpreter is started, and it does not start others."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from tests.support.tools import interruptible

from torch2grid_core.testing import NotConforming, _common_checks, bound_checks

CLASS = """
    import os
    with open("started.txt", "a") as log:
        log.write(f"{os.getpid()}\\n")
    print("imported")
    from torch2grid_core import Page, View
    from torch2grid_core.pages import Text
    from torch2grid_core.testing import bound_checks

    class Mine(View):
        "mine"
        name = "mine"
        def pages(self, checkpoint, results, run):
            yield Page("mine", "mine", (Text("one"),))
    """
RUNS = """
    for bound in bound_checks(Mine):
        if bound.check.name == "no_torch_at_import":
            bound()
            print("passed")
    """


def _script(folder: Path, *, guarded: bool) -> None:
    main = f"if __name__ == '__main__':{textwrap.indent(RUNS, '    ')}" if guarded else textwrap.dedent(RUNS)
    (folder / "checks_mine.py").write_text(textwrap.dedent(CLASS) + textwrap.dedent(main), encoding="utf-8")


@pytest.mark.parametrize("words", [["checks_mine.py"], ["-m", "checks_mine"]], ids=" ".join)
def test_a_guarded_script_is_imported_once_more(tmp_path: Path, words: list[str]) -> None:
    _script(tmp_path, guarded=True)
    run = subprocess.run(
        [sys.executable, *words],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        preexec_fn=interruptible,
    )
    assert (run.returncode, run.stdout.split()) == (0, ["imported", "passed"]), run.stderr
    assert len((tmp_path / "started.txt").read_text().split()) == 2


def test_a_script_without_a_guard_is_told_so(tmp_path: Path) -> None:
    _script(tmp_path, guarded=False)
    run = subprocess.run(
        [sys.executable, "checks_mine.py"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        preexec_fn=interruptible,
    )
    assert run.returncode == 1
    assert "put what runs the checks below  if __name__ == '__main__':" in run.stderr
    assert len((tmp_path / "started.txt").read_text().split()) == 2


def test_a_class_that_was_typed_at_a_prompt_passes(tmp_path: Path) -> None:
    code = textwrap.dedent(CLASS) + textwrap.dedent(RUNS)
    run = subprocess.run(
        [sys.executable, "-"], input=code, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )
    assert (run.returncode, run.stdout.split()) == (0, ["imported", "passed"]), run.stderr


def test_a_module_that_never_ends_its_import_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = textwrap.dedent(CLASS).replace(
        'print("imported")', "import sys, time\nif 'pytest' not in sys.modules: time.sleep(99)"
    )
    (tmp_path / "never_ends.py").write_text(source, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(_common_checks, "_IMPORT_SECONDS", 2)
    (bound,) = [each for each in bound_checks("never_ends") if each.check.name == "no_torch_at_import"]
    with pytest.raises(NotConforming, match="importing never_ends takes more than 2 s"):
        bound()
