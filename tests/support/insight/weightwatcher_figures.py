"""Twenty matrices, and WeightWatcher's figures of them: ``python -m tests.support.insight.weightwatcher_figures`` writes these.

It needs the packages weightwatcher (0.7.7) and torch; nothing else of the project does.
"""

from __future__ import annotations

import json
import logging
import warnings
from pathlib import Path
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]
FIGURES = Path(__file__).with_suffix(".json")
COLUMNS = ("alpha", "alpha_weighted", "D", "sigma", "xmin", "num_pl_spikes", "norm", "spectral_norm", "stable_rank")


def matrices() -> dict[str, Array]:
    """Normal ones, ones with heavy tails, ones with four large directions, and two that learned a teacher's."""
    random = np.random.default_rng(7)
    found = {}
    for number, shape in enumerate([(100, 100), (60, 300), (300, 64), (256, 256), (512, 128), (128, 700)]):
        found[f"normal{number}"] = random.normal(0, 0.05, shape)
        found[f"heavy{number}"] = random.normal(0, 0.02, shape) / np.sqrt(random.uniform(0.001, 1, shape))
        low = random.normal(0, 1, (shape[0], 4)) @ random.normal(0, 1, (4, shape[1]))
        found[f"spiked{number}"] = random.normal(0, 0.05, shape) + 0.1 * low
    for number, (rows, columns) in enumerate([(200, 200), (150, 400)]):
        learned = random.normal(0, 0.1, (rows, columns))
        teacher = random.normal(0, 1, (rows, 8)) @ random.normal(0, 1, (8, columns)) / 3
        scales = np.linspace(2, 0.05, columns)[:, None]
        for _ in range(200):
            inputs = random.normal(0, 1, (columns, 64)) * scales
            learned -= 0.016 * ((learned - teacher) @ inputs) @ inputs.T / 64
        found[f"trained{number}"] = learned
    return {name: each.astype(np.float32) for name, each in found.items()}


def main() -> None:
    import torch
    import weightwatcher

    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    modules = torch.nn.ModuleDict()
    for name, each in matrices().items():
        modules[name] = torch.nn.Linear(each.shape[1], each.shape[0], bias=False)
        modules[name].weight.data = torch.from_numpy(each)
    found = weightwatcher.WeightWatcher(model=modules).analyze(min_evals=2).set_index("longname")
    figures = {name: {column: float(found.loc[name, column]) for column in COLUMNS} for name in modules}
    FIGURES.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
