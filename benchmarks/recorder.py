"""What ``GradientRecorder`` costs a training loop: the digits network, 9,258 parameters, batches of 32, on one core.

    python -m benchmarks.recorder [ROUNDS]

The loop with and without it takes turns, each on a network of its own; medians of processor time. Target: below 5 % at the
default ``every``. (A step of this network takes a millisecond or two; of larger ones the share is smaller.)
"""

from __future__ import annotations

import statistics
import sys
import time
from contextlib import nullcontext

import torch
from tests.compare.training import digits_net

from benchmarks.measure import machine
from torch2grid.recorder import GradientRecorder

EVERY, STEPS, MOST = (None, 50, 10), 150, 0.05


def seconds(every: int | None) -> float:
    """Processor time of a step."""
    net, images, labels = digits_net()
    images, labels = images.repeat(2, 1, 1, 1), labels.repeat(2)
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-3)
    with GradientRecorder(net, every) if every else nullcontext():
        started = time.process_time()
        for _ in range(STEPS):
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(net(images), labels).backward()
            optimizer.step()
        return (time.process_time() - started) / STEPS


def main(rounds: int = 31) -> int:
    """Print the table; exit code 1 where the target is missed."""
    torch.set_num_threads(1)
    print(machine())
    taken: dict[int | None, list[float]] = {every: [] for every in EVERY}
    for turn in range(rounds + 1):
        for every, samples in taken.items():
            sample = seconds(every)
            if turn:
                samples.append(sample)
    plain = statistics.median(taken[None])
    print("\n| recorded | ms a step | overhead |\n| --- | ---: | ---: |")
    overhead = {}
    for every, samples in taken.items():
        overhead[every] = statistics.median(samples) / plain - 1
        name = f"every {every} steps" if every else "never"
        print(f"| {name} | {1000 * statistics.median(samples):.3f} | {overhead[every]:+.1%} |")
    if overhead[50] > MOST:
        print(f"missed: {overhead[50]:.1%} at every=50, not {MOST:.0%}")
    return int(overhead[50] > MOST)


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:])))
