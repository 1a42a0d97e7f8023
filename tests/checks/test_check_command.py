"""``torch2grid check`` as it is called: exit codes, reports, which rules."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ElementTree

import ml_dtypes
import numpy as np
import pytest
import torch
from click.testing import CliRunner
from tests.checks.defects import arrays, manager, save
from tests.tools import DIGITS, torch2grid

from torch2grid_builtin.commands.check import Check
from torch2grid_core import UsageError

FLOATS = [np.float32, np.float64, np.float16, ml_dtypes.bfloat16, ml_dtypes.float8_e4m3fn, ml_dtypes.float8_e5m2]


def check(*words, **options):
    """The command in this process: exit code, stdout, stderr."""
    result = CliRunner().invoke(Check().build(), [str(word) for word in words], obj=manager(), standalone_mode=False, **options)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.return_value, result.stdout, result.stderr


def weights(dtype=np.float32, **changes):
    values = {name: array.astype(dtype) for name, array in arrays("digits").items()}
    return {**values, **changes}


@pytest.fixture
def ill(tmp_path):
    """fc1.weight with a NaN, and an unused row in fc2.weight's neighbourhood: one error and one warning."""
    tensors = weights()
    tensors["fc1.weight"][3, 17] = np.nan
    tensors["empty"] = np.empty(0, np.float32)
    return save(tmp_path / "ill.safetensors", tensors)


@pytest.mark.parametrize("dtype", FLOATS)
def test_a_single_planted_nan_on_the_real_command_line(tmp_path, dtype):
    tensors = weights(dtype)
    clean = save(tmp_path / "clean.safetensors", tensors)
    tensors["fc1.weight"][3, 17] = np.nan
    planted = save(tmp_path / "planted.safetensors", tensors)
    done = torch2grid("check", clean, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    done = torch2grid("check", planted, cwd=tmp_path)
    assert done.returncode == 1, done.stderr
    assert f"{planted}: T101 error fc1.weight[3, 17]: 1 of 4,096 weights is NaN (nan)" in done.stdout.splitlines()


def test_a_single_planted_nan_in_a_torch_file(tmp_path):
    state = {name: torch.from_numpy(array.copy()) for name, array in arrays("digits").items()}
    state["conv2.weight"][1, 2, 0, 2] = float("nan")
    for name, options in (("zip.pth", {}), ("legacy.pth", {"_use_new_zipfile_serialization": False})):
        torch.save(state, tmp_path / name, **options)
        code, out, _ = check(tmp_path / name)
        assert code == 1
        assert "T101 error conv2.weight[1, 2, 0, 2]: 1 of " in out


def test_exit_codes(tmp_path, ill):
    broken = tmp_path / "broken.safetensors"
    broken.write_bytes(ill.read_bytes()[:-1])
    assert check(DIGITS)[0] == 0
    assert check(ill)[0] == 1
    code, out, err = check(DIGITS, broken, ill)  # 2 outranks 1, and the rest is checked all the same
    assert code == 2
    assert "T101" in out
    assert "broken.safetensors" in err
    assert check(ill, "--ignore", "T101")[0] == 0
    assert check(ill, "--ignore", "nan", "--fail-on", "warning")[0] == 1
    assert check(ill, "--select", "T3", "--fail-on", "error")[0] == 0
    for words in (
        ("check",),
        ("check", ill, "--fail-on", "x"),
        ("check", ill, "--select", "T999"),
        ("check", ill, "--rule", "nan:x=1"),
    ):
        done = torch2grid(*words, cwd=tmp_path)
        assert done.returncode == 2, words
        assert len(done.stderr.splitlines()) == 1


def test_a_call_without_tensors_is_unreadable_and_told(tmp_path):
    class Payload:
        def __reduce__(self):
            return (print, ("this must not be printed",))

    torch.save({"a": Payload()}, tmp_path / "gadget.pth")
    code, out, err = check(tmp_path / "gadget.pth")
    assert (code, out) == (2, "")
    assert "not run: " in err


def test_selecting_and_ignoring(ill):
    assert {line.split()[1] for line in check(ill)[1].splitlines()} == {"T101", "T302"}
    assert {line.split()[1] for line in check(ill, "--select", "t1,zero_size")[1].splitlines()} == {"T101", "T302"}
    assert {line.split()[1] for line in check(ill, "--ignore", "T1")[1].splitlines()} == {"T302"}
    assert check(ill, "--select", "zero-size", "-q")[1:] == (
        f"{ill}: T302 warning empty: shape [0] holds no weight (zero_size)\n",
        "",
    )
    with pytest.raises(UsageError, match="no rule is left"):
        check(ill, "--select", "T1", "--ignore", "T1")
    with pytest.raises(UsageError, match=r"no rule 'T9'"):
        check(ill, "--ignore", "T9")


def test_thresholds(tmp_path):
    tensors = weights()
    tensors["fc1.weight"][3, 17] = 50
    path = save(tmp_path / "spike.safetensors", tensors)
    assert check(path)[0] == 0
    code, out, _ = check(path, "--rule", "exploding:limit=40")
    assert code == 1
    assert "T105 error fc1.weight[3, 17]: |max| is 50, above 40" in out
    with pytest.raises(UsageError, match="its options: limit"):
        check(path, "--rule", "exploding:most=40")


def test_json(tmp_path, ill):
    code, out, _ = check(ill, tmp_path / "none.pth", DIGITS, "--format", "json")
    report = json.loads(out)
    assert code == 2
    assert [model["status"] for model in report["models"]] == ["failed", "unreadable", "passed"]
    first, missing, clean = report["models"]
    assert first["findings"][0] == {
        "code": "T101",
        "rule": "nan",
        "severity": "error",
        "tensor": "fc1.weight",
        "index": [3, 17],
        "message": "1 of 4,096 weights is NaN",
    }
    assert (first["errors"], first["warnings"], first["tensors"]) == (1, 1, 9)
    assert "none.pth" in missing["error"]
    assert clean["findings"] == []
    assert {rule["code"] for rule in report["rules"]} >= {"T101", "T202", "T304"}


def test_junit(tmp_path, ill):
    tensors = weights()
    tensors["bad \x1b[31m\x00<&>\ud800".encode("utf-8", "surrogatepass").decode("utf-8", "replace")] = np.full(
        (4, 4), np.nan, np.float32
    )
    strange = save(tmp_path / "strange.safetensors", tensors)
    code, out, _ = check(ill, tmp_path / "none.pth", strange, "--format", "junit")
    assert code == 2
    root = ElementTree.fromstring(out)
    assert (root.tag, root.attrib["tests"], root.attrib["failures"], root.attrib["errors"]) == ("testsuites", "31", "2", "1")
    first, missing, third = root
    (failure,) = first.iter("failure")
    assert failure.attrib == {"type": "error", "message": "fc1.weight[3, 17]: 1 of 4,096 weights is NaN"}
    assert [case.attrib["name"] for case in first if case.find("system-out") is not None] == ["T302 zero_size"]
    assert missing.find("testcase/error") is not None
    assert "\\x1b[31m\\x00<&>" in third.find("testcase/failure").attrib["message"]


def test_long_reports_are_cut_in_text_only(tmp_path):
    tensors = {f"layer{number}.weight": np.full((4, 4), np.nan, np.float32) for number in range(80)}
    path = save(tmp_path / "nan.safetensors", tensors)
    lines = check(path, "--select", "nan")[1].splitlines()
    assert len(lines) == 51
    assert lines[-1].endswith("T101 … and 30 more; --format json lists all")
    assert len(json.loads(check(path, "--select", "nan", "--format", "json")[1])["models"][0]["findings"]) == 80


def test_workers_change_nothing(ill):
    assert check(ill, "-j", "2")[1] == check(ill, "-j", "1")[1]


def test_rules_of_others(tmp_path):
    plugin = tmp_path / "rule.py"
    plugin.write_text(
        "from torch2grid_core import Finding, Rule, Summary\n"
        "class Even(Rule):\n"
        '    """tensors of an even number of weights"""\n'
        '    name, code, severity = "even", "X101", "warning"\n'
        "    def needs(self, checkpoint, run):\n"
        "        return {'summary': Summary()}\n"
        "    def findings(self, checkpoint, results, run):\n"
        "        for name, summary in results['summary'].items():\n"
        "            if summary.count % 2 == 0:\n"
        "                yield Finding(f'{summary.count} weights', name)\n"
    )
    done = torch2grid("check", DIGITS, "--load-plugin", plugin, "--select", "X", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert f"{DIGITS}: X101 warning conv1.weight: 144 weights (even)" in done.stdout.splitlines()
    plugin.write_text(plugin.read_text().replace("summary.count % 2", "summary.none % 2"))
    done = torch2grid("check", DIGITS, "--load-plugin", plugin, cwd=tmp_path)
    assert done.returncode == 2
    assert "rule 'even'" in done.stderr
    assert "AttributeError" in done.stderr


def test_listing(tmp_path):
    done = torch2grid("check", "--list-rules", cwd=tmp_path)
    assert done.returncode == 0
    assert "T101  error    nan               weights that are NaN" in done.stdout.splitlines()
    assert [line.split()[0] for line in done.stdout.splitlines()] == sorted(
        line.split()[0] for line in done.stdout.splitlines()
    )


def test_a_filter_that_fails_is_no_finding(tmp_path):
    plugin = tmp_path / "moody.py"
    plugin.write_text(
        "from dataclasses import dataclass\nfrom torch2grid_core import TensorFilter\n\n\n"
        "@dataclass(frozen=True)\nclass Moody(TensorFilter):\n    name = 'moody'\n    day: str = 'sunday'\n\n"
        "    def __post_init__(self):\n        if self.day == 'monday':\n            raise RuntimeError('not today')\n"
    )
    done = torch2grid("check", DIGITS, "--load-plugin", plugin, "--filter", "moody:day=monday", cwd=tmp_path)
    assert done.returncode == 2
    assert "not today" in done.stderr
    assert done.stdout == ""


DECLINES = {
    "needs": "    def needs(self, checkpoint, run):\n        raise NotDrawable('nothing for me')\n",
    "findings": "    def findings(self, checkpoint, results, run):\n        raise NotDrawable('nothing for me')\n",
    "transformer": "    def needs(self, checkpoint, run):\n        return {'grid': Transformed(Declines(), 'mean', 8)}\n",
}


@pytest.mark.parametrize("where", DECLINES)
def test_a_rule_that_declines_finds_nothing_and_the_others_go_on(tmp_path, ill, where):
    plugin = tmp_path / "rule.py"
    plugin.write_text(
        "from torch2grid_core import Finding, GridTransformer, NotDrawable, Rule, Transformed\n"
        "class Declines(GridTransformer):\n"
        "    name = 'declines'\n"
        "    def transform(self, tensors):\n"
        "        raise NotDrawable('nothing for me')\n"
        "class Nothing(Rule):\n"
        '    """something that this file has not"""\n'
        '    name, code, severity = "nothing", "X101", "error"\n'
        "    def findings(self, checkpoint, results, run):\n"
        "        yield Finding('found')\n" + DECLINES[where]
    )
    done = torch2grid("check", ill, "--load-plugin", plugin, cwd=tmp_path)
    alone = torch2grid("check", ill, cwd=tmp_path)
    assert done.returncode == alone.returncode == 1, done.stderr
    assert done.stdout.splitlines()[1:] == alone.stdout.splitlines()[1:]
