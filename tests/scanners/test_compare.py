"""The comparison with other scanners: what it puts together, and that it does not overlook what was not named."""

from __future__ import annotations

import pickletools
from pathlib import Path

from tests.scanners.compare import Tally, files_of, said, table, tally
from tests.support.scanners.assembled import pickles

SOURCE = """
import pickle
import fickling.fickle as op

RUN = pickle.PROTO + b"\\x04" + pickle.GLOBAL + b"os\\nsystem\\n" + pickle.EMPTY_TUPLE + pickle.REDUCE + pickle.STOP
JOINED = b"".join([pickle.GLOBAL, b"pty\\nspawn\\n", pickle.EMPTY_TUPLE, pickle.REDUCE, pickle.STOP])
NOT_KNOWN = pickle.GLOBAL + given + pickle.STOP
NONE = b"no pickle at all"


def test():
    p = pickle.PROTO + b"\\x02"
    p += pickle.GLOBAL + b"runpy\\nrun_path\\n"
    p += pickle.STOP
    made = Pickled(
        [
            op.Proto.create(4),
            op.ShortBinUnicode("shutil"),
            op.Memoize(),
            op.ShortBinUnicode("rmtree"),
            op.StackGlobal(),
            op.Global.create("code", "interact"),
            op.TupleTwo(),
            op.BinInt2(300),
            op.String("a"),
            op.Unicode("b"),
            op.Tuple(),
            op.Stop(),
        ]
    )
    other = Pickled([op.Global(given), op.Stop()])
"""


def test_pickles_are_put_together_from_source_that_is_not_run(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(SOURCE)
    found = set(pickles(tmp_path / "test_it.py"))
    assert b"\x80\x04cos\nsystem\n)R." in found
    assert b"cpty\nspawn\n)R." in found
    assert b"\x80\x02crunpy\nrun_path\n." in found
    (listed,) = [raw for raw in found if b"shutil" in raw]
    names = [opcode.name for opcode, _, _ in pickletools.genops(listed.replace(b"t.", b"."))]
    assert names[:5] == ["PROTO", "SHORT_BINUNICODE", "MEMOIZE", "SHORT_BINUNICODE", "STACK_GLOBAL"]
    assert names[5:] == ["GLOBAL", "TUPLE2", "BININT2", "STRING", "UNICODE", "STOP"]
    assert len(found) == 4


def test_what_is_not_named_is_counted_as_missed(tmp_path: Path) -> None:
    tests = tmp_path / "picklescan" / "tests"
    tests.mkdir(parents=True)
    (tests / "test_it.py").write_text(SOURCE)
    (tests / "plain.pkl").write_bytes(b"\x80\x02]q\x00K\x01a.")
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    files = list(files_of(tmp_path, "picklescan", scratch))
    assert len(files) == 5
    told = said(files)
    names = [["os.system"] if b"system" in path.read_bytes() else [] for path in files]
    found = tally(files, names, told)
    assert (found.files, found.dangerous, found.names, found.findings + found.refused) == (5, 1, 1, 1)
    assert (found.missed, found.clean) == ([], [])
    other = tally(files, [["nt.system", "unknown.os"] if each else [] for each in names], told)
    assert [each.partition(": ")[2] for each in other.missed] == ["nt.system"]
    silent = tally(files, names, [(False, "")] * len(files))
    assert (len(silent.clean), len(silent.missed)) == (1, 1)
    assert table({"a": Tally(3, 2, 4, 1, 1, ["x"])}).splitlines()[-1] == "| a | 3 | 2 | 1 | 1 | 4 | 3 |"
