"""What share of planted defects the rules find, and how often they alarm where nothing was planted: a table.

``python -m tests.checks.planted [COUNT]``: COUNT of each kind in each network (10).
"""

from __future__ import annotations

import sys
import tempfile
from collections import Counter
from pathlib import Path

from tests.support.checks.planting import KINDS, findings, is_found, network, networks, plant, suits


def main(count: int) -> None:
    """Print the table."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "planted.safetensors"
        usual = {name: Counter((each.code, each.tensor) for each in findings(network(name), path)) for name in networks()}
        new = {"T108", "T109", "T110", *(f"T20{number}" for number in range(4, 10))}
        alarms = sum(code in new for found in usual.values() for code, _ in found)
        print(f"{'planted':32} {'networks':>8} {'planted':>8} {'found':>6} {'elsewhere':>10}")
        for kind in KINDS:
            chosen = [name for name in networks() if suits(kind, name)]
            found = elsewhere = 0
            for name in chosen:
                for seed in range(count):
                    tensors, planted = plant(kind, name, seed)
                    told = findings(tensors, path)
                    hit = is_found(tensors, planted, told)
                    found += hit
                    elsewhere += any(each.code in new and planted.tensor and each.tensor != planted.tensor for each in told)
                    if not hit and "-v" in sys.argv:
                        print(f"  missed: {name}, seed {seed}: {planted} {[(each.code, each.place) for each in told]}")
            total = count * len(chosen)
            print(f"{kind:32} {len(chosen):8} {total:8} {found:6} {elsewhere:10}", flush=True)
        print(f"nothing: {alarms} findings in {len(usual)} networks")


if __name__ == "__main__":
    main(int(next((word for word in sys.argv[1:] if word.isdigit()), "10")))
