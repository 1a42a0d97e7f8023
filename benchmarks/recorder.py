"""What ``GradientRecorder`` costs a training loop: the digits network, 9,258 parameters, batches of 32, on one core.

The loop with and without it takes turns, each on a network of its own; medians of processor time. (A step of this network
takes a millisecond or two; of larger ones the share is smaller.)
"""

from __future__ import annotations

import statistics
import time
from contextlib import nullcontext
from pathlib import Path

import torch
from tests.support.compare.training import digits_net

from benchmarks.task import Section, at_most, markdown
from torch2grid._gradients import GradientRecorder

EVERY, STEPS, MOST = (None, 50, 10), 150, 5.0  # MOST: percent, at the default of 50
TURNS = 6  # for each round: a turn takes a quarter of a second


def _seconds(every: int | None) -> float:
    """Processor time of a step."""
    net, images, labels = digits_net()
    images, labels = images.repeat(2, 1, 1, 1), labels.repeat(2)
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-3)
    started = time.process_time()
    with GradientRecorder(net, every) if every else nullcontext():
        for _ in range(STEPS):
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(net(images), labels).backward()
            optimizer.step()
    return (time.process_time() - started) / STEPS


def run(folder: Path, rounds: int) -> Section:
    torch.set_num_threads(1)
    taken: dict[int | None, list[float]] = {every: [] for every in EVERY}
    for turn in range(TURNS * rounds + 1):
        for every, samples in taken.items():
            sample = _seconds(every)
            if turn:
                samples.append(sample)
    plain = statistics.median(taken[None])
    more = {every: 100 * (statistics.median(samples) / plain - 1) for every, samples in taken.items()}
    rows = [
        [f"every {every} steps" if every else "never", f"{1000 * statistics.median(samples):.3f}", f"{more[every]:+.1f} %"]
        for every, samples in taken.items()
    ]
    about = "Processor time of a training step of the digits network (9,258 parameters, batches of 32, one core, AdamW)."
    text = f"{about}\n\n" + markdown(["gradients recorded", "ms a step", "more"], rows)
    return Section("Recording gradients", text, [at_most("Recording every 50 steps", more[50], MOST, " %")])
