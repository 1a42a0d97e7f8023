"""What is said of flags that are taken, names that are off, and long names in the listing."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest
from tests.support.tools import DIGITS, distribution, torch2grid

from torch2grid_core import PluginError
from torch2grid_core.testing import bound_checks

SOURCE = """
    from dataclasses import dataclass, field
    from torch2grid_core import Page, PluginSettings, View
    from torch2grid_core.pages import Text

    @dataclass(frozen=True)
    class Mine(PluginSettings):
        "options of all"
        name = "pk"
        heads: int = field(default=1, metadata={"help": "how many"})

    class Heads(View):
        "the heads"
        name = "pk_heads"
        def pages(self, checkpoint, results, run):
            yield Page("heads", "Heads", (Text("one"),))

    class Long(Heads):
        "a long one"
        name = "a_name_of_more_than_nineteen_letters"
"""


def test_a_flag_that_the_plugin_itself_took_is_said_to_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    site = distribution(tmp_path / "site", "t2g-selfish", SOURCE)
    run = torch2grid(DIGITS, "--stats", cwd=tmp_path, path=[site])
    (told,) = [line for line in run.stderr.splitlines() if "gets no flag" in line]
    assert "gets no flag: --pk-heads is taken by its own " in told
    monkeypatch.syspath_prepend(site)
    with pytest.raises(PluginError, match="--pk-heads is taken by its own"):
        bound_checks(importlib.import_module("t2g_selfish"))


def test_the_variable_is_named_where_it_says_what_is_off(tmp_path: Path) -> None:
    env = {"TORCH2GRID_DISABLE_PLUGINS": "torch2grid-pk"}
    told = torch2grid(DIGITS, "--stats", "--disable-plugin", "other", cwd=tmp_path, env=env).stderr
    assert "TORCH2GRID_DISABLE_PLUGINS=torch2grid-pk: no plugin or distribution has that name" in told
    assert "--disable-plugin other: no plugin" in told
    assert "--disable-plugin torch2grid-pk" not in told


def test_summaries_stand_in_one_column_whatever_names_are_long(tmp_path: Path) -> None:
    site = distribution(tmp_path / "site", "t2g-selfish", SOURCE)
    listed = torch2grid("plugins", "t2g-selfish", cwd=tmp_path, path=[site]).stdout.splitlines()
    places = {line.index(text) for text in ("the heads", "a long one") for line in listed if text in line}
    assert len(places) == 1


def test_settings_that_python_could_not_name_are_refused(tmp_path: Path) -> None:
    site = distribution(tmp_path / "site", "t2g-dashed", SOURCE.replace('"pk"', '"p-k"'))
    run = torch2grid(DIGITS, "--stats", cwd=tmp_path, path=[site])
    assert run.returncode == 0
    assert "a name of settings holds letters, digits and underscores alone" in run.stderr
