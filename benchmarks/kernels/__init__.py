"""The kernels alone, in one process, beside numpy's plain way: pytest-benchmark over the files of this folder."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks.task import Check, Section, at_least, markdown

_KERNELS = {"test_raster.py": "Raster", "test_distribution.py": "Distribution", "test_reader.py": "Reader"}
_KERNELS |= {"test_layouts.py": "Layouts", "test_decoders.py": "Decoders"}
DECODED = 4096 * 4096  # weights
_TARGETS = (1.0, 0.3)  # 10⁹ weights a second: of codes that lie along the rows, and of those that are stored turned
_TURNED = ("GPTQ, 4 bits", "AWQ", "MXFP4, turned")


def run(folder: Path, rounds: int) -> Section:
    target = folder / "kernels.json"
    options = [*("-p", "no:xdist"), *("-p", "no:cacheprovider"), f"--basetemp={folder / 'files'}"]
    options += [f"--benchmark-min-rounds={rounds}", f"--benchmark-json={target}"]
    words = [sys.executable, "-m", "pytest", str(Path(__file__).parent), *options]
    # One thread: the engine runs one process for each core, each of which runs the kernels in one.
    alone = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run(words, env=alone, stdout=subprocess.PIPE, text=True, check=False)
    good = not done.returncode
    ran = Check("Kernels: each ran", good, "yes" if good else f"exit code {done.returncode}")
    if not good:
        return Section("Kernels", f"```text\n{done.stdout[-2000:]}\n```", [ran], whole=False)
    found = json.loads(target.read_text())
    return Section("Kernels", f"{_ABOUT}\n\n{_table(found)}", [ran, *_speeds(found)])


_ABOUT = (
    "In one process, by pytest-benchmark, medians. Beside each, what somebody who has the whole array in memory writes"
    " with numpy (or torch's and safetensors' own readers). Our distribution is a count: its histogram and quantiles are within"
    " 0.4 % of a value for float32, where numpy's are exact; in return it takes chunks in any order and memory that does not"
    " grow with the file, as the raster does, and adds in float64. A header is checked field by field in Python, where"
    " safe_open's is in Rust; a spiral is two thousand short runs."
)


def _table(found: dict[str, Any]) -> str:
    """What stands beside numpy's plain way; below, what stands alone."""
    taken: dict[tuple[str, str], dict[str, float]] = {}
    alone = []
    for each in found["benchmarks"]:
        kernel, way, median = _kernel(each), (each["params"] or {}).get("way"), each["stats"]["median"]
        if way is None:
            what = ", ".join([each["group"], *map(str, (each["params"] or {"": "numpy's plain way"}).values())])
            alone.append([kernel, what, f"{1000 * median:.1f}"])
        else:
            taken.setdefault((kernel, each["group"]), {})[way] = median
    rows = []
    for (kernel, what), medians in taken.items():
        ours = medians.pop("ours")
        for way, median in medians.items():
            rows.append([kernel, what, way, f"{1000 * ours:.1f}", f"{1000 * median:.1f}", f"{median / ours:.2f}"])
    beside = markdown(["kernel", "what", "beside", "ours ms", "theirs ms", "theirs ÷ ours"], rows, words=3)
    return beside + "\n\n" + markdown(["kernel", "what", "ms"], alone, words=2)


def _kernel(each: dict[str, Any]) -> str:
    return _KERNELS[Path(each["fullname"].partition("::")[0]).name]


def _speeds(found: dict[str, Any]) -> list[Check]:
    """Targets of decoding, of one core."""
    checks = []
    for each in found["benchmarks"]:
        scheme = (each["params"] or {}).get("scheme")
        if scheme is not None:
            speed = DECODED / each["stats"]["median"] / 1e9
            checks.append(at_least(f"Decoding {scheme}, one core", speed, _TARGETS[scheme in _TURNED], " G weights/s"))
    return checks
