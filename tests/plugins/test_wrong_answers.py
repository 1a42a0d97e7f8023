"""What a plugin answers is of the type that was asked for, or an error of that plugin: never rubbish, nor another's fault."""

from __future__ import annotations

import os
import pickle
import re
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field, make_dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from tests.support.tools import COMMAND, DIGITS, distribution, torch2grid

from torch2grid_core import (
    Checkpoint,
    Decoder,
    LazyTensor,
    LoadError,
    Need,
    PluginError,
    PluginManager,
    PluginSettings,
    Renderer,
    SourceOpener,
    TensorFilter,
    UsageError,
)
from torch2grid_core._engine.measuring import measure
from torch2grid_core._guard import Origin, stamp
from torch2grid_core._kinds import KINDS
from torch2grid_core._methods import mistakes
from torch2grid_core._plugins.added import settings_from, settings_of
from torch2grid_core._plugins.record import _base
from torch2grid_core.measures import Collector, Summary
from torch2grid_core.sources import BytesStorage, DerivedNumbers, JointTensor, SourceBase
from torch2grid_core.testing import NotConforming, bound_checks

RAISED = [RuntimeError, MemoryError, SystemExit, GeneratorExit]  # whatever a plugin raises is its failure


# --- defaults of settings


GIVE = ": give it one of that type; it is left out"
TAKE = ", which no option can give: take it out, or give it another type; it is left out"
DEFAULTS: dict[str, tuple[Any, Any, bool]] = {
    "0 for a truth": (bool, 0, False),
    "a text for a truth": (bool, "true", False),
    "a truth": (bool, True, True),
    "a text for a number": (int, "a", False),
    "digits for a number": (int, "1", False),
    "a fraction for a whole number": (int, 1.5, False),
    "a truth for a number": (int, True, False),
    "a whole number for a number": (float, 1, True),
    "not a number": (float, float("nan"), True),
    "a number for a text": (str, 3, False),
    "nothing for a text": (str, None, False),
    "nothing, which may be": (str | None, None, True),
    "no choice": (Literal["a", "b"], "c", False),
    "a choice": (Literal["a", "b"], "b", True),
    "one of two": (tuple[int, int], (1,), False),
    "a text for texts": (tuple[str, ...], "abc", False),
    "texts": (tuple[str, ...], ("abc",), True),
    "truths among numbers": (tuple[int, ...], (1, True), False),
    "a path": (Path, Path("x"), True),
    "a number of numpy's": (int, np.int64(3), True),
    "a fraction of numpy's": (float, np.float32(0.5), True),
    "a truth of numpy's": (bool, np.bool_(False), True),
    "numbers of numpy's": (tuple[float, ...], (np.float64(1), np.float32(2)), True),
    "a fraction of numpy's for a whole number": (int, np.float32(0.5), False),
    "a number that Python has not": (float, np.longdouble(1), False),
    "an array for a number": (int, np.ones(3), False),
    "an array for anything": (Any, np.ones(3), False),
    "an array": (np.ndarray, np.ones(3), False),
    "an array or nothing": (np.ndarray | None, None, False),
    "a mapping": (dict, {}, False),
    "a mapping of texts, or nothing": (dict[str, str] | None, None, False),
    "mappings": (tuple[dict[str, str], ...], (), False),
    "a mapping or a text": (dict[str, str] | str, "x", True),
}


def settings_class(kind: Any, default: Any) -> type:
    fields = [
        ("odd", kind, field(default_factory=lambda: default, metadata={"help": "h"})),
        ("good", int, field(default=1, metadata={"help": "h"})),
    ]
    made = make_dataclass("Odd", fields, bases=(PluginSettings,), frozen=True, namespace={"name": "ruler", "__doc__": "r"})
    made.__module__ = __name__
    return made


@pytest.mark.parametrize("about", DEFAULTS)
def test_a_default_that_no_user_could_give_costs_that_field_alone_and_fails_the_kit(about: str) -> None:
    kind, default, stands = DEFAULTS[about]
    cls = settings_class(kind, default)
    manager = PluginManager()
    manager.register(cls)
    known = settings_of(manager)
    assert "ruler_good" in known
    assert ("ruler_odd" in known) == stands
    told = [line for line in manager.problems() if "ruler" in line]
    assert len(told) == (not stands)
    for line in told:
        assert "settings 'ruler': field 'odd' of Odd takes " in line
        assert line.endswith((GIVE, TAKE))
    if stands:
        assert type(known["ruler_odd"].default).__module__ != "numpy"
    failed = {
        bound.check.name
        for bound in bound_checks(cls)
        if bound.check.name in ("options", "defaults_are_options") and _fails(bound)
    }
    assert failed == (set() if stands else {"options", "defaults_are_options"})


def _fails(bound: Any) -> bool:
    try:
        bound()
    except NotConforming as error:
        return "takes " in str(error)
    return False


BAD = """
from dataclasses import dataclass, field
import numpy as np
from torch2grid_core import PluginSettings

@dataclass(frozen=True)
class Wrong(PluginSettings):
    "r"
    name = "ruler"
    p: bool = field(default=0, metadata={"help": "h"})
    q: int = field(default="a", metadata={"help": "h"})
    r: dict = field(default_factory=dict, metadata={"help": "h"})
    s: int = field(default_factory=lambda: np.ones(3), metadata={"help": "h"})
    t: float = field(default=np.float32(0.5), metadata={"help": "h"})
    good: int = field(default=1, metadata={"help": "h"})

class Forgets(PluginSettings):
    "f"
    name = "forgets"
    unit: str = "cm"
"""


@pytest.mark.parametrize("command", ["draw", "tree", "check", "config", "plugins"])
def test_every_command_works_without_the_fields_that_are_wrong(command: str, tmp_path: Path) -> None:
    folder = distribution(tmp_path / "site", "t2g-bad", BAD)
    words = {"draw": [DIGITS, "--ruler-good", "2"], "config": ["config", "--ruler-good", "2"], "plugins": ["plugins"]}
    run = torch2grid(*words.get(command, [command, DIGITS]), cwd=tmp_path, path=[folder])
    assert run.returncode == 0, run.stderr
    told = [line for line in run.stderr.splitlines() if "t2g-bad 1.0: " in line]
    assert [line.partition("1.0: ")[2] for line in told] == [
        "settings 'forgets': Forgets is not a dataclass, so it has no options: write @dataclass(frozen=True) above it",
        f"settings 'ruler': field 'p' of Wrong takes true or false, and its default is 0{GIVE}",
        f"settings 'ruler': field 'q' of Wrong takes a whole number, and its default is 'a'{GIVE}",
        f"settings 'ruler': field 'r' of Wrong takes dict{TAKE}",
        f"settings 'ruler': field 's' of Wrong takes a whole number, and its default is a ndarray{GIVE}",
    ]
    if command == "plugins":
        assert "t2g-bad 1.0  (t2g_bad = t2g_bad)  in part" in run.stdout
        assert run.stdout.count("  error: settings '") == 5


def test_annotations_below_a_dataclass_without_its_decorator_are_told() -> None:
    base = settings_class(int, 1)
    below = type("Below", (base,), {"__annotations__": {"more": int}, "more": 1, "__module__": __name__, "__doc__": "b"})
    manager = PluginManager()
    manager.register(below)
    settings_of(manager)
    assert any("Below is not a dataclass" in line for line in manager.problems())
    plain = type("Plain", (base,), {"__module__": __name__, "__doc__": "b"})
    manager = PluginManager()
    manager.register(plain)
    assert "ruler_good" in settings_of(manager)
    assert not manager.problems()


# --- what decoders compute


class Doubled(DerivedNumbers):
    """Twice what is stored, or what *answer* makes of it."""

    answer: Callable[[Any], Any] | None = None

    def __init__(self, inner: Any, count: int) -> None:
        self.inner, self.count = inner, count

    def elements(self, start: int, stop: int) -> Any:
        found = 2 * self.read(4 * start, 4 * (stop - start)).view(np.float32)
        return found if self.answer is None else type(self).answer(found)  # type: ignore[misc]


class Doubles(Decoder):
    """weights, doubled"""

    name = "doubles"
    made: Callable[[LazyTensor], LazyTensor] = staticmethod(lambda tensor: tensor)
    stored: Any = ("w.half",)

    def claims(self, checkpoint: Checkpoint) -> Any:
        return {"w": self.stored} if "w.half" in checkpoint else {}

    def decode(self, checkpoint: Checkpoint) -> Checkpoint:
        half = checkpoint["w.half"]
        tensor = LazyTensor("w", half.shape, half.dtype, Doubled(half.storage, half.size), note="twice")
        return checkpoint.compose([type(self).made(tensor)], self.claims(checkpoint), self.name)


def halves() -> Checkpoint:
    values = np.arange(200, dtype=np.float32).reshape(20, 10)
    return Checkpoint([LazyTensor("w.half", values.shape, values.dtype, BytesStorage(values))], source="m", format="toy")


def opened(monkeypatch: pytest.MonkeyPatch, **changes: Any) -> Checkpoint:
    from torch2grid_core._plugins.loading import decoded

    for name, value in changes.items():
        monkeypatch.setattr(Doubled if name == "answer" else Doubles, name, value if name == "stored" else staticmethod(value))
    manager = PluginManager()
    record = manager.register(Doubles)
    record.distribution, record.version = "t2g-x", "1.0"
    return decoded(halves(), manager.names("decoder").values())


def raising(kind: type[BaseException]) -> Callable[[Any], Any]:
    def answer(_: Any) -> Any:
        raise kind("q")

    return answer


ELEMENTS: dict[str, tuple[Callable[[Any], Any], str]] = {
    "another dtype": (lambda found: found.astype(np.float64), "elements returned float64, not float32; .astype(Doubled.dtype)"),
    "the other byte order": (lambda found: found.astype(">f4"), "elements returned float32, not float32"),
    "nothing": (lambda found: None, "elements returned None, not a 1-D array of float32; is a 'return' missing?"),
    "a list": (lambda found: list(found), "elements returned a list, not a 1-D array of float32"),
    "fewer": (lambda found: found[1:], "elements returned an array of shape (199,), not the (200,) that it was asked for"),
    "more": (lambda found: np.append(found, found), "elements returned an array of shape (400,)"),
    "two dimensions": (lambda found: found.reshape(2, -1), "elements returned an array of shape (2, 100)"),
    "yields": (lambda found: (each for each in found), "elements returned a generator"),
    **{kind.__name__: (raising(kind), f"{kind.__name__}: q") for kind in RAISED},
}


@pytest.mark.parametrize("about", ELEMENTS)
def test_numbers_that_a_decoder_computes_are_checked_and_its_failures_name_it(
    about: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer, told = ELEMENTS[about]
    tensor = opened(monkeypatch, answer=answer)["w"]
    copied = pickle.loads(pickle.dumps(tensor))
    for read in (tensor.numpy, copied.numpy, lambda: tensor.read(0, 200), lambda: tensor[:]):
        with pytest.raises(LoadError) as failure:
            read()
        assert str(failure.value).startswith("w: cannot be computed: decoder 'doubles' of t2g-x 1.0: ")
        assert told in str(failure.value)


def test_a_decoder_that_keeps_to_its_word_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    np.testing.assert_array_equal(opened(monkeypatch)["w"].numpy().ravel(), 2 * np.arange(200, dtype=np.float32))


COMPOSED: dict[str, tuple[Callable[[LazyTensor], LazyTensor], str]] = {
    "a smaller shape": (
        lambda each: replace(each, shape=(3, 4)),
        "'w' of shape (3, 4) reaches to number 12, and Doubled computes 200",
    ),
    "a larger shape": (lambda each: replace(each, shape=(21, 10)), "'w' of shape (21, 10) reaches to number 210, and Doubled"),
    "a count too large": (
        lambda each: replace(each, storage=Doubled(each.storage.inner, 201)),  # type: ignore[attr-defined]
        "'w' of shape (20, 10) reaches to number 200, and Doubled computes 201",
    ),
    "another dtype": (
        lambda each: replace(each, dtype=np.dtype(np.float16)),
        "'w' is of float16, and Doubled computes float32",
    ),
}


@pytest.mark.parametrize("about", COMPOSED)
def test_a_composed_tensor_is_all_that_its_storage_computes(about: str, monkeypatch: pytest.MonkeyPatch) -> None:
    made, told = COMPOSED[about]
    with pytest.raises(PluginError) as failure:
        opened(monkeypatch, made=made)
    assert str(failure.value).startswith(f"decoder 'doubles' of t2g-x 1.0: decode: ValueError: {told}")
    failed = [bound.check.name for bound in bound_checks(Doubles, lambda folder: [halves()]) if _raises(bound, told)]
    assert {"what_it_claims_is_composed", "composed_reads_agree"} <= {*failed}


def test_a_claim_of_what_is_not_stored_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    told = "claims: 'w' is of 'w.halves', which is not stored; did you mean 'w.half'?"
    with pytest.raises(PluginError) as failure:
        opened(monkeypatch, stored=["w.halves"])
    assert told in str(failure.value)
    assert any(_raises(bound, told) for bound in bound_checks(Doubles, lambda folder: [halves()]))


def _raises(bound: Any, told: str) -> bool:
    try:
        bound()
    except Exception as error:
        return told in str(error)
    return False


# --- what tensors of other tensors compute


COMBINED: dict[str, tuple[str, str]] = {
    "nothing": ("found", "combine returned None, not a 1-D array of float32; is a 'return' missing?"),
    "a number": ("return 3", "combine returned 3, not a 1-D array of float32"),
    "a mean": ("return found.mean()", "combine returned a float32, not a 1-D array of float32"),
    "a list": ("return list(found)", "combine returned a list, not a 1-D array of float32"),
    "a text": ("return 'a'", "combine returned 'a', not a 1-D array of float32"),
    "one": ("return found[:1]", "combine returned an array of shape (1,), not (200,) as those that it was given"),
    "one too few": ("return found[:-1]", "combine returned an array of shape (199,), not (200,)"),
    "two dimensions": ("return found.reshape(2, -1)", "combine returned an array of shape (2, 100), not (200,)"),
    "complex": ("return found * 1j", "combine returned complex64, which is not float32"),
    "texts": ("return found.astype(str)", "combine returned str"),
    "yields": ("yield found", "combine holds yield, so nothing of it runs"),
    "raises": ("raise OSError('disk')", "OSError: disk"),
    "exits": ("raise SystemExit(0)", "SystemExit: 0"),
}
JOINT = """
import numpy as np
from torch2grid_core import Decoder, LazyTensor, Page, View, hookimpl
from torch2grid_core.measures import Summary
from torch2grid_core.pages import Text
from torch2grid_core.sources import ComputedStorage, JointTensor

def fn(arrays):
    found = arrays["a"] + arrays["b"]
    BODY

class Sums(Decoder):
    "sums"
    name = "sums"
    def claims(self, checkpoint):
        return {"sum": ("a", "b")} if "a" in checkpoint else {}
    def decode(self, checkpoint):
        a, b = checkpoint["a"], checkpoint["b"]
        made = MADE
        return checkpoint.compose([made], self.claims(checkpoint), self.name)

class Joins(View):
    "joins"
    name = "joins"
    def subject(self, checkpoint, run):
        a, b = checkpoint["a"], checkpoint["b"]
        return checkpoint.with_tensors([MADE])
    def needs(self, checkpoint, run):
        return {"s": Summary()}
    def pages(self, checkpoint, results, run):
        yield Page("x", "x", (Text(str(results["s"]["sum"].mean)),))

@hookimpl
def torch2grid_KIND():
    return [CLASS]
"""
MADE = {
    "joint": 'JointTensor.of("sum", {"a": a, "b": b}, fn)',
    "computed": 'LazyTensor("sum", a.shape, a.dtype, ComputedStorage([("a", a), ("b", b)], fn, a.dtype))',
}
WAYS = {"stats": ["--stats"], "grid": ["--view", "grid"], "layers": ["--layers"], "check": ["check"]}


def summed(folder: Path, body: str, made: str, of: str) -> Path:
    np.savez(folder / "m.npz", a=np.ones((20, 10), np.float32), b=np.full((20, 10), 2, np.float32))
    kind, cls = {"decoder": ("decoders", "Sums"), "view": ("views", "Joins")}[of]
    source = JOINT.replace("BODY", body).replace("MADE", MADE[made]).replace("KIND", kind).replace("CLASS", cls)
    return distribution(folder / "site", "t2g-x", source)


@pytest.mark.parametrize("made", MADE)
@pytest.mark.parametrize("about", COMBINED)
def test_what_a_decoder_combines_is_checked_however_it_is_read_and_its_failures_name_it(
    about: str, made: str, tmp_path: Path
) -> None:
    body, told = COMBINED[about]
    folder = summed(tmp_path, body, made, "decoder")
    ways = WAYS if about in ("nothing", "raises", "one too few") else {"stats": WAYS["stats"]}
    for way, words in ways.items():
        run = torch2grid(*words, "m.npz", cwd=tmp_path, path=[folder])
        assert (run.returncode, run.stdout) == (2 if way == "check" else 1, ""), way
        assert run.stderr.startswith("torch2grid: sum: cannot be computed: decoder 'sums' of t2g-x 1.0: "), way
        assert told in run.stderr


@pytest.mark.parametrize("made", MADE)
@pytest.mark.parametrize("about", ["nothing", "one too few", "raises"])
def test_what_a_view_combines_is_checked_and_costs_no_other_view(about: str, made: str, tmp_path: Path) -> None:
    body, told = COMBINED[about]
    folder = summed(tmp_path, body, made, "view")
    run = torch2grid("m.npz", "--joins", "--stats", cwd=tmp_path, path=[folder])
    assert run.returncode == 1
    assert "view 'joins' of t2g-x 1.0: sum cannot be computed: " in run.stderr
    assert told in run.stderr
    assert "decoder" not in run.stderr
    if made == "joint":
        assert "Layer Statistics" in run.stdout


@pytest.mark.parametrize("dtype", ["float64", "float16", "int64", "bool", "bfloat16"])
def test_numbers_that_fit_are_taken_for_those_of_the_tensor(dtype: str) -> None:
    import ml_dtypes

    kind = ml_dtypes.bfloat16 if dtype == "bfloat16" else np.dtype(dtype)
    ones = LazyTensor("a", (4,), np.dtype(np.float32), BytesStorage(np.ones(4, np.float32)))
    joint = JointTensor.of("sum", {"a": ones, "b": ones}, lambda arrays: (arrays["a"] * 1).astype(kind))
    np.testing.assert_array_equal(joint.numpy(), np.ones(4, np.float32))
    assert joint.compute({"a": np.ones(4), "b": np.ones(4)}).dtype == np.float32


@pytest.mark.parametrize("change", ["pickled", "viewed", "unchecked"])
def test_who_combines_is_remembered_by_what_is_made_of_the_tensor(change: str) -> None:
    stored = halves()["w.half"]
    joint = JointTensor.of("sum", {"a": stored, "b": stored}, _nothing)
    stamp(joint.storage, Origin("decoder", "sums", "t2g-x", "1.0"))
    made = {
        "pickled": lambda: pickle.loads(pickle.dumps(joint)),
        "viewed": lambda: joint.view(np.s_[2:4]),
        "unchecked": joint.unchecked,
    }[change]()
    with pytest.raises(LoadError, match=r"sum: cannot be computed: decoder 'sums' of t2g-x 1\.0: "):
        made.numpy()
    with pytest.raises(LoadError, match=r"sum: cannot be computed: decoder 'sums' of t2g-x 1\.0: "):
        made.compute({"a": np.ones(3), "b": np.ones(3)})


def _nothing(arrays: Any) -> Any:
    return None


# --- what loaders make


LOADER = """
import os
import numpy as np
from torch2grid_core import Checkpoint, LazyTensor, Loader
from torch2grid_core.sources import DerivedNumbers, Range

class Halves(DerivedNumbers):
    def __init__(self, inner, count):
        self.inner, self.count = inner, count
    def elements(self, start, stop):
        found = self.read(start, stop - start).view(np.int8) * np.float32(0.5)
        ELEMENTS

class Own:
    shippable = True
    def __init__(self, path):
        self.path, self.size = path, 1600
    def read_into(self, offset, buffer):
        with open(self.path, "rb") as file:
            file.seek(4 + offset)
            READ

class Lo(Loader):
    "lo"
    name = "lo"
    def sniff(self, source):
        return 2 if source.head[:4] == b"LOLO" else 0
    def load(self, source):
        halves, own = Halves(Range(source, 4, 400), 400), Own(os.path.abspath(source.shown))
        return Checkpoint(
            [LazyTensor("w", (SIZE,), np.dtype(np.float32), STORAGE)], source=source.shown, format="lo", GIVEN
        )
"""
LOADED: dict[str, tuple[dict[str, str], str]] = {
    "elements forget": (
        {"ELEMENTS": "pass"},
        "a.lo: w cannot be computed: BY: t2g_x.Halves: TypeError: elements returned None",
    ),
    "elements fail": ({"ELEMENTS": "raise SystemExit(0)"}, "a.lo: w cannot be computed: BY: t2g_x.Halves: SystemExit: 0"),
    "elements of float64": (
        {"ELEMENTS": "return found.astype(float)"},
        "a.lo: w cannot be computed: BY: t2g_x.Halves: TypeError: elements returned float64, not float32",
    ),
    "fewer": (
        {"SIZE": "300"},
        "BY: load: a.lo: ValueError: 'w' of shape (300,) reaches to number 300, and Halves computes 400",
    ),
    "more": ({"SIZE": "500"}, "BY: load: a.lo: ValueError: 'w' of shape (500,) reaches to number 500, and Halves computes 400"),
    "a storage that yields": (
        {"STORAGE": "own", "READ": "yield"},
        "a.lo: w cannot be read: BY: t2g_x.Own: TypeError: read_into holds yield, so nothing of it runs",
    ),
    "a storage that fills nothing": (
        {"STORAGE": "own", "READ": "pass"},
        "TypeError: read_into left the last of the 1,600 bytes",
    ),
    "a storage that fills less": (
        {"STORAGE": "own", "READ": "file.readinto(buffer)"},
        "a.lo: w cannot be read: BY: t2g_x.Own: TypeError: read_into left the last of the 1,600 bytes",
    ),
    "a storage that fills less and says so": (
        {"STORAGE": "own", "READ": "return file.readinto(buffer)"},
        "TypeError: read_into filled 400 of the 1,600 bytes that it was asked for",
    ),
    "a storage that returns bytes": (
        {"STORAGE": "own", "READ": "return file.read()"},
        "TypeError: read_into returned a bytes, not None, nor a number of bytes",
    ),
    "a storage that raises": (
        {"STORAGE": "own", "READ": "raise OSError('gone')"},
        "a.lo: w cannot be read: BY: t2g_x.Own: OSError: gone",
    ),
    "notes that raise": ({"GIVEN": "notes=lambda: 1 / 0"}, "BY: load: notes: ZeroDivisionError: division by zero"),
    "notes that forget": ({"GIVEN": "notes=lambda: None"}, "BY: load: notes returned None, not several texts; is a 'return'"),
    "notes of a text": ({"GIVEN": "notes=lambda: 'a note'"}, "BY: load: notes returned 'a note', not several texts"),
    "notes, a text": ({"GIVEN": "notes='a note'"}, "BY: load: TypeError: a tuple of texts is needed, not the text 'a note'"),
    "notes of numbers": ({"GIVEN": "notes=[1]"}, "BY: load: notes hold 1, not several texts"),
    "not_run that raises": ({"GIVEN": "not_run=lambda: 1 / 0"}, "BY: load: not_run: ZeroDivisionError: division by zero"),
    "not_run that forgets": ({"GIVEN": "not_run=lambda: None"}, "BY: load: not_run returned None, not several of Action"),
    "not_run of texts": ({"GIVEN": "not_run=lambda: ['x']"}, "BY: load: not_run hold 'x', not several of Action"),
}
KEPT = {"ELEMENTS": "return found", "READ": "file.readinto(buffer)", "SIZE": "400", "STORAGE": "halves", "GIVEN": ""}


def loading(folder: Path, name: str, changes: dict[str, str]) -> Path:
    source = LOADER
    for word, text in {**KEPT, **changes}.items():
        source = source.replace(word, text)
    (folder / "a.lo").write_bytes(b"LOLO" + bytes(range(200)) * 2)
    return distribution(folder / "site", name, source)


@pytest.mark.parametrize("about", LOADED)
def test_what_a_loader_makes_names_it_where_it_is_wrong(about: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    changes, told = LOADED[about]
    folder = loading(tmp_path, "t2g-x", changes)
    for words in (["--stats"], ["check"]):
        run = torch2grid(*words, "a.lo", cwd=tmp_path, path=[folder])
        assert (run.returncode, run.stdout) == (2 if words == ["check"] else 1, "")
        assert told.replace("BY", "loader 'lo' of t2g-x 1.0") in run.stderr
    name = f"t2g_kit{[*LOADED].index(about)}"
    monkeypatch.syspath_prepend(str(loading(tmp_path, name, changes)))
    wanted = re.sub(r".*BY: (load: )?(a\.lo: )?(t2g_x\.)?(\w+Error: )?", "", told)
    assert any(_raises(bound, wanted) for bound in bound_checks(name, lambda _: [tmp_path / "a.lo"]))


def test_a_loader_that_keeps_to_its_word_is_read(tmp_path: Path) -> None:
    run = torch2grid("a.lo", "--stats", cwd=tmp_path, path=[loading(tmp_path, "t2g-x", {})])
    assert run.returncode == 0, run.stderr
    assert "w           3.6700" in run.stdout


@pytest.mark.parametrize("value", [b"\x5a\x55", b"\xa5\xaa", b"\x00\x00"])
def test_weights_that_look_as_if_nothing_had_been_read_are_read(value: bytes) -> None:
    class Own:
        size, shippable = 64, False

        def read_into(self, offset: int, buffer: memoryview) -> None:
            buffer[:] = (value * len(buffer))[: len(buffer)]

    found = LazyTensor("w", (64,), np.dtype(np.uint8), Own()).numpy()
    assert found.tobytes() == value * 32


# --- what sources answer


class Answers(SourceBase):
    """Bytes in memory, of which one thing is answered wrongly."""

    name, shown, size, identity = "m.bin", "odd://m.bin", 8, 1
    wrong: Any = None

    def read(self, offset: int, length: int) -> bytes:
        self.inside(offset, length)
        return bytes(length)


class Folder(Answers):
    name, shown, size, is_folder, entries = "m", "odd://m", 0, True, ("m.bin",)

    def child(self, name: str) -> Any:
        return Answers()


def method(self: Any, *_: Any) -> Any:
    return None


def yields(self: Any, *_: Any) -> Any:
    yield b""


WRONG: dict[str, tuple[type, str, Any, str]] = {
    "a view of bytes": (
        Answers,
        "read",
        lambda self, offset, length: memoryview(bytes(length)),
        "read returned a memoryview, not bytes",
    ),
    "an array of bytes": (
        Answers,
        "read",
        lambda self, offset, length: bytearray(length),
        "read returned a bytearray, not bytes",
    ),
    "read forgets": (Answers, "read", method, "read returned None, not bytes; is a 'return' missing?"),
    "read yields": (Answers, "read", yields, "read returned a generator, not bytes"),
    "read_into yields": (Answers, "read_into", yields, "read_into holds yield, so nothing of it runs"),
    "read_into fills nothing": (Answers, "read_into", method, "read_into left the last of the 1 bytes"),
    "read_into fills less": (Answers, "read_into", lambda self, *_: 0, "read_into filled 0 of the 1 bytes"),
    "prefetch yields": (Answers, "prefetch", yields, "prefetch holds yield, so nothing of it runs"),
    "head": (Answers, "head", property(lambda self: "text"), "its head is 'text', not bytes"),
    "size": (Answers, "size", "8", "its size is '8', not a number of bytes"),
    "size of truth": (Answers, "size", True, "its size is True, not a number of bytes"),
    "identity": (Answers, "identity", property(lambda self: []), "its identity has no hash"),
    "folder": (Answers, "folder", property(lambda self: Path()), "its folder is a PosixPath, not a Source or None"),
    "a text for a folder": (Answers, "folder", "odd://", "its folder is 'odd://', not a Source or None"),
    "is_folder, a method": (
        Answers,
        "is_folder",
        method,
        "its is_folder is a method, not True or False; write @property above it",
    ),
    "window": (Answers, "window", method, "window returned None, not a Source; is a 'return' missing?"),
    "shown": (Answers, "shown", 7, "its shown is 7, not a text"),
    "name": (Answers, "name", None, "its name is None, not a text"),
    "entries forget": (
        Folder,
        "entries",
        property(method),
        "its entries is None, not a tuple of names; is a 'return' missing?",
    ),
    "entries yield": (Folder, "entries", property(yields), "its entries is a generator, not a tuple of names"),
    "entries, a method": (Folder, "entries", method, "its entries is a method, not a tuple of names; write @property above it"),
    "entries of paths": (Folder, "entries", (Path("m.bin"),), "its entries hold a PosixPath, not a name"),
    "child forgets": (Folder, "child", method, "child returned None, not a Source; is a 'return' missing?"),
    "child, a path": (Folder, "child", lambda self, name: Path(name), "child returned a PosixPath, not a Source"),
    **{
        kind.__name__: (Answers, "read", lambda self, *_, kind=kind: raising(kind)(0), f"{kind.__name__}: q") for kind in RAISED
    },
}


def opener_of(cls: type) -> type:
    found = type(
        "Opener", (SourceOpener,), {"name": "odd", "schemes": ("odd",), "__doc__": "o", "open": lambda self, location: cls()}
    )
    found.__module__ = __name__
    return found


@pytest.mark.parametrize("about", WRONG)
def test_a_source_that_answers_wrongly_is_named_by_its_plugin_and_fails_the_kit(about: str) -> None:
    from torch2grid_core._data.guarded import answer_all

    base, name, answer, told = WRONG[about]
    opener = opener_of(type("Odd", (base,), {name: answer, "__module__": __name__}))
    manager = PluginManager()
    record = manager.register(opener)
    record.distribution, record.version = "t2g-x", "1.0"
    with pytest.raises(LoadError) as failure:
        answer_all(manager.source("odd://m"))  # type: ignore[arg-type]
    line = str(failure.value)
    assert line.startswith("odd://m")
    assert "source 'odd' of t2g-x 1.0: " in line
    assert told in line
    checks = [bound for bound in bound_checks(opener, lambda folder: ["odd://m"]) if bound.check.name == "source_reads_agree"]
    assert all(_raises(bound, told) for bound in checks)


def test_a_source_whose_read_is_misspelt_says_so() -> None:
    cls = type(
        "Odd",
        (SourceBase,),
        {**{key: vars(Answers)[key] for key in ("name", "shown", "size", "identity")}, "raed": Answers.read},
    )
    manager = PluginManager()
    manager.register(opener_of(cls))
    source: Any = manager.source("odd://m")
    with pytest.raises(LoadError, match=r"Odd has no read\(\); nothing calls raed\(\): did you mean read\(\)\?"):
        source.read(0, 1)


CHILD = """
from torch2grid_core import SourceOpener
from torch2grid_core.sources import SourceBase
class Folder(SourceBase):
    name, shown, size, identity, is_folder, entries = "m", "odd://m", 0, 1, True, ("m.safetensors",)
    def child(self, name):
        pass
class Opener(SourceOpener):
    "odd"
    name, schemes = "odd", ("odd",)
    def open(self, location):
        return Folder()
"""


def test_a_child_of_no_kind_is_not_taken_for_one_that_is_missing(tmp_path: Path) -> None:
    folder = distribution(tmp_path / "site", "t2g-x", CHILD)
    run = torch2grid("odd://m", cwd=tmp_path, path=[folder])
    told = "odd://m: source 'odd' of t2g-x 1.0: child returned None, not a Source; is a 'return' missing?"
    assert (run.returncode, run.stdout) == (1, "")
    assert run.stderr.startswith(f"torch2grid: {told}")


# --- whatever a need raises


class Fails(Collector):
    """Raises at one of its methods."""

    def __init__(self, at: str, kind: type[BaseException]) -> None:
        self.at, self.kind = at, kind
        self._tell("collector")

    def _tell(self, at: str) -> None:
        if self.at == at:
            raise self.kind("q")

    def update(self, chunk: Any) -> None:
        self._tell("update")

    def result(self) -> int:
        self._tell("result")
        return 1


@dataclass(frozen=True)
class Failing(Need[int]):
    at: str
    kind: type[BaseException]

    def collector(self, tensors: Any) -> Collector:
        return Fails(self.at, self.kind)


@pytest.mark.parametrize("kind", RAISED)
@pytest.mark.parametrize("at", ["collector", "update", "result"])
def test_whatever_a_need_raises_is_its_own_failure_and_costs_no_other(at: str, kind: type[BaseException]) -> None:
    failed: dict[str, Any] = {}
    needs: dict[str, Need[Any]] = {"bad": Failing(at, kind), "good": Summary()}
    found = dict(measure(halves(), needs, failed=failed.__setitem__))
    assert str(failed["bad"]) == f"need 'measure': Failing: {kind.__name__}: q"
    assert found["w.half"]["good"].mean == 99.5


# --- what never runs


def _methods() -> list[tuple[str, str]]:
    found = []
    for kind in KINDS:
        base = _base(kind)
        for name in dir(base):
            own = getattr(base, name)
            if not name.startswith("_") and callable(own) and hasattr(own, "__code__"):
                found.append((kind, name))
    return found


@pytest.mark.parametrize(("kind", "name"), _methods())
def test_a_method_that_yields_where_nothing_is_drawn_from_it_is_told(kind: str, name: str) -> None:
    base = _base(kind)

    async def never(self: Any, *_: Any) -> Any:
        return None

    def generator(self: Any, *_: Any) -> Any:
        yield None

    told = mistakes(type("Never", (base,), {name: never, "name": "never"}))
    assert f"{name}() is async, so nothing of it runs: write def, not async def" in told
    drawn = str(getattr(base, name).__annotations__.get("return", "")).startswith(("Iterable", "Iterator", "Sequence"))
    told = mistakes(type("Yields", (base,), {name: generator, "name": "yields"}))
    assert (f"{name}() holds yield, so nothing of it runs: write it without yield" in told) != drawn


def test_keep_that_yields_or_fails_is_told_as_keep() -> None:
    from torch2grid_core._selection import select

    class Yields(TensorFilter):
        """yields"""

        name = "yields"

        def keep(self, tensor: LazyTensor) -> Any:
            yield True

    class Raises(TensorFilter):
        """raises"""

        name = "raises"

        def keep(self, tensor: LazyTensor) -> bool:
            raise KeyError("q")

    for each, told in ((Yields(), "keep holds yield, so nothing of it runs"), (Raises(), "keep: KeyError: 'q'")):
        with pytest.raises(PluginError) as failure:
            select(halves(), filters=[each])
        assert told in str(failure.value)
        assert "apply" not in str(failure.value)


def test_a_collector_that_yields_is_told() -> None:
    class Yields(Collector):
        def update(self, chunk: Any) -> Any:
            yield chunk

    @dataclass(frozen=True)
    class Asks(Need[int]):
        def collector(self, tensors: Any) -> Collector:
            return Yields()

    with pytest.raises(PluginError, match=r"Yields: update\(\) holds yield, so nothing of it runs"):
        list(measure(halves(), {"asks": Asks()}))


def test_an_empty_group_is_computed_of_nothing() -> None:
    @dataclass(frozen=True)
    class Counts(Need[int]):
        def groups(self, checkpoint: Checkpoint) -> Any:
            return {"none": ()}

        def compute(self, tensors: Any) -> int:
            return len(tensors)

    assert dict(measure(halves(), {"count": Counts()})) == {"none": {"count": 0}}


# --- what a run says


LISTENS = """
import os
from dataclasses import dataclass
from torch2grid_core import Listener, hookimpl

class Hears(Listener):
    "hears"
    name, always = "hears", True
    def written(self, page, path, origin, run):
        os.write(2, f"heard {path}\\n".encode())

@hookimpl
def torch2grid_listeners():
    return [Hears]

@hookimpl
def torch2grid_written(page, path, run):
    os.write(2, f"event {path}\\n".encode())
"""


@pytest.mark.parametrize("format", ["png", "json", "html", "pdf", "gif"])
def test_nobody_hears_of_stdout(format: str, tmp_path: Path) -> None:
    folder = distribution(tmp_path / "site", "t2g-hears", LISTENS)
    command = [str(COMMAND), str(DIGITS), "-o", "-", "--format", format]
    environment = {**os.environ, "PYTHONPATH": str(folder)}
    run = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, timeout=120, check=False)
    assert run.returncode == 0
    assert run.stdout
    assert b"heard" not in run.stderr
    assert b"event" not in run.stderr
    assert [each.name for each in tmp_path.iterdir()] == ["site"]


MOVES = """
import os
from pathlib import Path
from torch2grid_core import Listener, Renderer, hookimpl

class Moves(Renderer):
    "moves"
    name, formats, folders = "moves", ("moved",), ("moved",)
    def render_folder(self, pages, folder, style, format):
        os.chdir(folder)
        Path("x.txt").write_text("x")
        (folder / "y.txt").write_text("y")

class Elsewhere(Listener):
    "moves too"
    name, always = "elsewhere", True
    def started(self, origin, run):
        os.chdir("/")

@hookimpl
def torch2grid_renderers():
    return [Moves]

@hookimpl
def torch2grid_listeners():
    return [Elsewhere]
"""


MOVES_OF_SOURCE = """
import os
from torch2grid_core import SourceOpener
from torch2grid_core.sources import SourceBase

class Elsewhere(SourceBase):
    name, shown, identity = "model.pth", "odd://model.pth", 1
    def __init__(self):
        with open({path!r}, "rb") as file:
            self.data = file.read()
        self.size = len(self.data)
    def read(self, offset, length):
        os.chdir("/")
        return self.data[offset : offset + length]

class Opener(SourceOpener):
    "odd"
    name, schemes = "odd", ("odd",)
    def open(self, location):
        return Elsewhere()
"""
LAZILY = """
@hookimpl
def torch2grid_filters():
    return [Lazy("moved:All", "all-of-it", "all", flag=True)]
"""
FILTER = """
class All(TensorFilter):
    "all"
    name, flag = "all-of-it", True
    def keep(self, tensor):
        return True
"""


def test_a_plugin_that_changes_the_working_folder_moves_no_file_of_the_run(tmp_path: Path) -> None:
    folder = distribution(tmp_path / "site", "t2g-moves", MOVES)
    run = torch2grid(DIGITS, "-o", "out", "--format", "moved,png", cwd=tmp_path, path=[folder])
    assert run.returncode == 0, run.stderr
    written = sorted(str(path.relative_to(tmp_path)) for path in (tmp_path / "out").rglob("*"))
    assert written == ["out/index.json", "out/neural_grid.png", "out/x.txt", "out/y.txt"]


@pytest.mark.parametrize("how", ["installed", "lazy", "a file", "a source"])
def test_nor_does_one_that_does_so_when_it_is_imported_or_read(how: str, tmp_path: Path) -> None:
    moves = "import os, pathlib\nos.chdir(pathlib.Path(__file__).parent)\n"
    model, words = str(DIGITS), []
    source = MOVES_OF_SOURCE.format(path=str(DIGITS))
    if how == "lazy":
        source = "from torch2grid_core import Lazy, hookimpl\n" + LAZILY
    elif how == "a source":
        model = "odd://model.pth"
    else:
        source = moves + source
    folder = distribution(tmp_path / "site", "t2g-moves", source)
    if how == "lazy":
        (folder / "moved.py").write_text(moves + "from torch2grid_core import TensorFilter\n" + FILTER, encoding="utf-8")
        words = ["--all-of-it"]
    elif how == "a file":
        words = ["--load-plugin", str(folder / "t2g_moves.py")]
    run = torch2grid(model, "-o", "out", *words, cwd=tmp_path, path=[] if how == "a file" else [folder])
    assert run.returncode == 0, run.stderr
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["index.json", "neural_grid.png"]


@pytest.mark.parametrize("does", ["moves", "exits"])
def test_the_kit_fails_what_would_move_or_end_the_tests(does: str) -> None:
    class Pages(Renderer):
        """a folder"""

        name, formats, folders = "pages", ("pages",), ("pages",)

        def render_folder(self, pages: Any, folder: Path, style: Any, format: str) -> None:
            (folder / "x").write_bytes(b"x")
            if does == "exits":
                raise SystemExit(3)
            os.chdir(folder)

    before = Path.cwd()
    (bound,) = [bound for bound in bound_checks(Pages) if bound.check.name == "folders_are_written"]
    told = {"moves": "it changes the working folder", "exits": "it raises SystemExit: 3"}[does]
    with pytest.raises(NotConforming, match=told):
        bound()
    assert Path.cwd() == before


FAULTS = """
from torch2grid_core import Lazy, hookimpl
@hookimpl
def torch2grid_views():
    return [Lazy("nope:V", "one", "v"), Lazy("bad", "two", "v"), Lazy("m:V", "th ree", "v")]
@hookimpl
def torch2grid_sources():
    [Lazy("nope:S", "src", "s", schemes=("zz",))]
def torch2grid_filters():
    return []
"""
SAID = (
    "nothing calls torch2grid_filters(): write @hookimpl above it",
    "torch2grid_sources returned None, not an iterable of classes; is a 'return' missing?",
    "torch2grid_views: the path of a Lazy is 'bad', not 'package.module:Class'",
    "torch2grid_views: the name of V is 'th ree'; a name holds no space, ':', '/' or ','",
)


def test_every_fault_of_a_plugin_is_said_by_listings_and_by_the_kit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = distribution(tmp_path / "site", "t2g-faults", FAULTS)
    run = torch2grid("plugins", "t2g-faults", cwd=tmp_path, path=[folder])
    for told in SAID:
        assert f"  error: {told}\n" in run.stdout
        assert run.stderr.count(f"t2g-faults 1.0: {told}\n") == 1
    monkeypatch.syspath_prepend(str(folder))
    with pytest.raises(PluginError) as failure:
        bound_checks("t2g_faults")
    for told in (*SAID, "view 'one': import: ModuleNotFoundError: No module named 'nope'"):
        assert told in str(failure.value)


def test_the_options_of_a_filter_with_a_flag_are_pointed_to_where_they_go(tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_text("only: {pattern: x}\n", encoding="utf-8")
    run = torch2grid(DIGITS, "--config", "s.yaml", cwd=tmp_path)
    assert run.returncode == 2
    assert "s.yaml:1: only: its flag takes no options; they are given as filter: {only: {option: value}}" in run.stderr
    manager = PluginManager.discover(third_party=False)
    with pytest.raises(UsageError, match=r"given as filter: \{only: \{option: value\}\}"):
        settings_from(manager, {"only": {"pattern": "x"}})
