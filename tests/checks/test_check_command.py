"""``torch2grid check`` as it is called: exit codes, reports, which rules."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ElementTree

import ml_dtypes
import numpy as np
import pytest
import torch
from click.testing import CliRunner
from tests.support.checks.defects import arrays, manager, save
from tests.support.tools import DIGITS, torch2grid

from torch2grid_builtin._commands.check import Check
from torch2grid_core import PluginManager, Torch2GridError, UsageError

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
    done = torch2grid("check", clean, cwd=tmp_path, new=True)
    assert done.returncode == 0, done.stdout + done.stderr
    done = torch2grid("check", planted, cwd=tmp_path, new=True)
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
    assert "T105 error fc1.weight[3, 17]: largest |weight| 50, above 40" in out
    with pytest.raises(UsageError, match="its options: limit, gain, bias"):
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
        "part": None,
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
    assert (root.tag, root.attrib["tests"], root.attrib["failures"], root.attrib["errors"]) == ("testsuites", "51", "2", "1")
    first, missing, third = root
    (failure,) = first.iter("failure")
    assert failure.attrib == {"type": "error", "message": "fc1.weight[3, 17]: 1 of 4,096 weights is NaN"}
    assert [case.attrib["name"] for case in first if case.find("system-out") is not None] == ["T302 zero_size"]
    assert missing.find("testcase/error") is not None
    assert "\\x1b[31m\\x00<&>" in third.find("testcase/failure").attrib["message"]


def test_what_many_tensors_have_is_one_line_and_a_list_on_verbose(tmp_path):
    tensors = {f"layer{number}.weight": np.full((4, 4), np.nan, np.float32) for number in range(51)}
    tensors.update({name: weights()[name] for name in ("fc1.weight", "fc2.weight")})
    path = save(tmp_path / "nan.safetensors", tensors)
    done = torch2grid("check", path, cwd=tmp_path)
    assert done.returncode == 1
    assert done.stdout == (
        f"{path}: T101 error 51 of 53 tensors are all NaN: layer0.weight, layer1.weight, layer2.weight and 48 more (nan)\n"
    )
    assert done.stderr.endswith(" s: 51 errors\n")
    listed = torch2grid("check", path, "--verbose", cwd=tmp_path).stdout.splitlines()
    assert listed[0] == done.stdout.splitlines()[0]
    alone = [f"{path}: T101 error layer{number}.weight[0, 0]: all 16 weights are NaN (nan)" for number in range(51)]
    assert listed[1:] == alone
    report = json.loads(torch2grid("check", path, "--format", "json", cwd=tmp_path).stdout)["models"][0]
    assert [finding["tensor"] for finding in report["findings"]] == [f"layer{number}.weight" for number in range(51)]
    junit = ElementTree.fromstring(torch2grid("check", path, "--format", "junit", cwd=tmp_path).stdout)
    assert len(junit.find(".//failure").text.splitlines()) == 51


def test_findings_are_grouped_by_what_they_say_and_three_are_listed(tmp_path):
    tensors = {f"all{number}": np.full((4, 4), np.nan, np.float32) for number in range(4)}
    for number in range(4):
        tensors[f"one{number}"] = np.arange(16, dtype=np.float32).reshape(4, 4) / 7
        tensors[f"one{number}"][1, number] = np.nan
    for number in range(3):
        tensors[f"empty{number}"] = np.empty((0, 3), np.float32)
    path = save(tmp_path / "nan.safetensors", tensors)
    assert [line.removeprefix(f"{path}: ") for line in check(path, "--select", "nan,zero_size")[1].splitlines()] == [
        "T101 error 4 of 11 tensors are all NaN: all0, all1, all2 and 1 more (nan)",
        "T101 error 4 of 11 tensors hold NaN: one0, one1, one2 and 1 more (nan)",
        *(f"T302 warning empty{number}: shape [0, 3] holds no weight (zero_size)" for number in range(3)),
    ]


def test_findings_of_other_rules_are_one_line_where_they_say_the_same_and_cut_where_not(tmp_path):
    plugin = tmp_path / "rule.py"
    plugin.write_text(
        "from torch2grid_core import Finding, Rule\n"
        "class Same(Rule):\n"
        '    """the same of each tensor"""\n'
        '    name, code = "same", "X101"\n'
        "    def findings(self, checkpoint, results, run):\n"
        "        yield from (Finding('is a tensor', name) for name in checkpoint)\n"
        "class Other(Rule):\n"
        '    """something else of each tensor"""\n'
        '    name, code = "other", "X102"\n'
        "    def findings(self, checkpoint, results, run):\n"
        "        yield from (Finding(f'is the tensor {name}', name) for name in checkpoint)\n"
    )
    path = save(tmp_path / "many.safetensors", {f"layer{number:02}": np.eye(4, dtype=np.float32) for number in range(60)})
    done = torch2grid("check", path, "--load-plugin", plugin, "--select", "X", cwd=tmp_path)
    lines = [line.removeprefix(f"{path}: ") for line in done.stdout.splitlines()]
    assert lines[0] == (
        "X101 error 60 of 60 tensors have the same finding: layer00, layer01, layer02 and 57 more; is a tensor (same)"
    )
    assert lines[1:51] == [f"X102 error layer{number:02}: is the tensor layer{number:02} (other)" for number in range(50)]
    assert lines[51:] == ["X102 … and 10 more; --verbose lists all"]
    done = torch2grid("check", path, "--load-plugin", plugin, "--select", "X", "-v", cwd=tmp_path)
    assert len(done.stdout.splitlines()) == 1 + 60 + 60
    plugin.write_text(plugin.read_text().replace('"X102"', '"X102"\n    together = {"(": "are odd"}'))
    done = torch2grid("check", path, "--load-plugin", plugin, "--select", "X101", cwd=tmp_path)
    assert done.returncode == 1
    assert "its together is {'(': 'are odd'}, not regular expressions" in done.stderr


def test_the_verdict_says_how_much_was_looked_at(tmp_path):
    done = torch2grid("check", DIGITS, cwd=tmp_path)
    assert done.returncode == 0
    assert done.stderr.endswith(" s: no finding by 25 rules in 9,258 numbers of 8 tensors\n")
    report = json.loads(torch2grid("check", DIGITS, "--select", "nan", "--format", "json", cwd=tmp_path).stdout)["models"][0]
    assert report["verdict"] == "no finding by 1 rule in 9,258 numbers of 8 tensors"
    assert (report["rules_run"], report["numbers"], report["tensors"]) == (1, 9258, 8)
    junit = ElementTree.fromstring(torch2grid("check", DIGITS, "--format", "junit", cwd=tmp_path).stdout)
    properties = {each.get("name"): each.get("value") for each in junit.iter("property")}
    assert properties == {
        "verdict": "no finding by 25 rules in 9,258 numbers of 8 tensors",
        "rules_run": "25",
        "numbers": "9258",
        "tensors": "8",
    }
    assert junit.attrib["tests"] == "25"
    single = save(tmp_path / "single.safetensors", {"scale": np.float32([2])})
    assert check(single, "--select", "nan")[2].endswith(" s: no finding by 1 rule in 1 number of 1 tensor\n")


def test_tied_weights_are_counted_once_in_the_verdict(tmp_path):
    tensor = torch.arange(12.0).reshape(3, 4) / 9
    torch.save({"a": tensor, "b": tensor}, tmp_path / "tied.pth")
    assert check(tmp_path / "tied.pth", "--select", "nan")[2].endswith("no finding by 1 rule in 12 numbers of 2 tensors\n")


def test_workers_change_nothing(ill):
    assert check(ill, "-j", "2")[1] == check(ill, "-j", "1")[1]


def test_rules_of_others(tmp_path):
    plugin = tmp_path / "rule.py"
    plugin.write_text(
        "from torch2grid_core import Finding, Rule\nfrom torch2grid_core.measures import Summary\n"
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
        "from torch2grid_core import Finding, GridTransformer, NotDrawable, Rule\n"
        "from torch2grid_core.measures import Transformed\n"
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


def test_rules_see_the_settings_that_were_given(tmp_path):
    plugin = tmp_path / "rule.py"
    plugin.write_text(
        "from torch2grid_core import Finding, Rule\n"
        "class Tells(Rule):\n"
        '    """what it was given"""\n'
        '    name, code, judges = "tells", "X101", "file"\n'
        "    def findings(self, checkpoint, results, run):\n"
        "        yield Finding(f'{run.jobs} {run.part}')\n"
    )
    done = torch2grid("check", DIGITS, "--load-plugin", plugin, "--select", "X", "-j", 2, "--part", "model", cwd=tmp_path)
    assert "2 model" in done.stdout, done.stderr


SUBJECT = '''
from torch2grid_core import Finding, NotDrawable, Rule
from torch2grid_core.measures import Summary

class Heads(Rule):
    """looks at the last layer alone"""
    name, code, judges = "heads", "X101", "values"
    wanted = "fc2"
    def subject(self, checkpoint, run):
        return checkpoint.select(name for name in checkpoint if name.startswith(self.wanted))
    def needs(self, checkpoint, run):
        return {"summary": Summary(brief=True)}
    def findings(self, checkpoint, results, run):
        assert list(results["summary"]) == list(checkpoint)
        yield from (Finding("holds NaN", name) for name, each in results["summary"].items() if each.nan)

class None_(Heads):
    """looks at nothing of this file"""
    name, code, wanted = "nothing", "X102", "nowhere"

class Others(Heads):
    """accuses another"""
    name, code = "others", "X103"
    def findings(self, checkpoint, results, run):
        yield Finding("is accused", "fc1.weight")
'''


@pytest.fixture
def heads(tmp_path):
    (tmp_path / "heads.py").write_text(SUBJECT, encoding="utf-8")
    return ["--load-plugin", "heads.py"]


def test_a_rule_with_a_subject_counts_what_it_looked_at(tmp_path, heads):
    tensors = weights()
    tensors["fc1.weight"][3, 17] = np.nan
    save(tmp_path / "m.safetensors", tensors)
    looked = sum(tensors[name].size for name in tensors if name.startswith("fc2"))
    done = torch2grid("check", "m.safetensors", *heads, "--select", "X101", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, "")
    assert f"no finding by 1 rule in {looked:,} numbers of 2 tensors" in done.stderr
    done = torch2grid("check", "m.safetensors", *heads, "--select", "X101", "--format", "json", cwd=tmp_path)
    (model,) = json.loads(done.stdout)["models"]
    assert (model["numbers"], model["tensors"]) == (looked, len(tensors))
    done = torch2grid("check", "m.safetensors", *heads, "--select", "X102", cwd=tmp_path)
    assert "no finding by 1 rule in 0 numbers of 0 tensors" in done.stderr
    done = torch2grid("check", "m.safetensors", *heads, cwd=tmp_path)
    assert "T101 error fc1.weight[3, 17]" in done.stdout


def test_a_finding_outside_the_subject_is_the_rules_fault(tmp_path, heads):
    save(tmp_path / "m.safetensors", weights())
    done = torch2grid("check", "m.safetensors", *heads, "--select", "X103", cwd=tmp_path)
    assert done.returncode == 2
    told = "findings yields one about 'fc1.weight', which is not among the tensors that the rule is about"
    assert told in done.stderr
    assert "Traceback" not in done.stderr


def test_a_part_that_one_of_several_models_has_not_ends_that_one_alone(tmp_path, ill):
    training = tmp_path / "training.pth"
    model = torch.nn.Linear(4, 4)
    optimizer = torch.optim.Adam(model.parameters())
    model(torch.ones(1, 4)).sum().backward()
    optimizer.step()
    torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict()}, training)
    for models in ((ill, training), (training, ill)):
        code, _, err = check(*models, "--part", "optimizer")
        assert code == 2
        assert f"{ill} has no parts to choose from" in err
        assert f"{training}: PyTorch zip" in err


def fail(*arguments, **options):
    raise ZeroDivisionError("a fault of ours")


def test_an_unforeseen_error_is_a_line_and_no_finding_and_the_other_models_are_checked(tmp_path, ill, monkeypatch):
    def opens(self, model, *arguments, **options):
        return fail() if str(model).endswith("other.safetensors") else opened(self, model, *arguments, **options)

    opened = PluginManager.open
    monkeypatch.setattr(PluginManager, "open", opens)
    code, out, err = check(tmp_path / "other.safetensors", ill, "--format", f"text,json={tmp_path / 'found.json'}")
    assert code == 2
    assert "T101" in out
    (told,) = [line for line in err.splitlines() if "a fault of ours" in line]
    assert told.startswith("torch2grid: internal error: ZeroDivisionError: ")
    assert [each["status"] for each in json.loads((tmp_path / "found.json").read_text())["models"]] == ["unreadable", "failed"]
    monkeypatch.setattr("torch2grid_builtin._commands.check.check_models", fail)
    with pytest.raises(Torch2GridError, match="internal error: ZeroDivisionError: a fault of ours") as caught:
        check(ill)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    "name",
    [
        "model/model-00001-of-00002.safetensors",
        "model/model.safetensors.index.json",
        "model/config.json",
        "model/vocabulary",
        "elsewhere.ckpt",
    ],
)
@pytest.mark.parametrize("option", ["--format", "--write-manifest"])
def test_nothing_is_written_over_a_file_of_a_checkpoint(tmp_path, ill, name, option):
    folder = tmp_path / "model"
    folder.mkdir()
    shards = {
        f"model-0000{number}-of-00002.safetensors": {f"layer{number}.weight": np.eye(4, dtype=np.float32)} for number in (1, 2)
    }
    for shard, tensors in shards.items():
        save(folder / shard, tensors)
    index = {"metadata": {"total_size": 128}, "weight_map": {key: shard for shard, each in shards.items() for key in each}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    (folder / "config.json").write_text("{}")
    (folder / "vocabulary").write_text("a b c")
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    target = tmp_path / name
    given = f"text,json={target}" if option == "--format" else target
    with pytest.raises(UsageError, match="has the name of a checkpoint file"):
        check(folder, option, given)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    for _ in range(2):  # a report may be written beside the shards, and written anew
        assert (
            check(folder, option, f"text,json={folder / 'check.json'}" if option == "--format" else folder / "check.json")[0]
            == 0
        )
