"""Numbers as people read them, the same in figures and in the terminal."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

LARGEST = float(np.finfo(np.float64).max)


def share_between(values: Any, low: float, high: float) -> Any:
    """Where *values* lie from *low* (0) to *high* (1), however far these are apart or how close; NaN stays NaN.

    All is scaled by one power of two first: the distance of two float64 numbers may be none.
    """
    exponent = math.frexp(max(abs(low), abs(high)))[1]
    near, far = math.ldexp(low, -exponent), math.ldexp(high, -exponent)
    with np.errstate(all="ignore"):
        scaled = np.ldexp(np.asarray(values, dtype=np.float64), -exponent)
        return (scaled - near) / ((far - near) or 1.0)


def bent(values: Any, bend: float) -> Any:
    """asinh(values / bend), and of what is too large for the division its logarithm."""
    values = np.asarray(values, dtype=np.float64)
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
        ratio = values / bend
        far = np.sign(values) * (np.log(np.abs(values)) - math.log(bend) + math.log(2))
        return np.where(np.abs(ratio) < 1e300, np.arcsinh(ratio), far)


def unbent(values: Any, bend: float) -> Any:
    """The inverse of ``bent``, at most the largest number that there is."""
    with np.errstate(over="ignore"):
        near = np.sinh(np.clip(values, -700, 700)) * bend
        far = np.sign(values) * np.exp(np.minimum(np.abs(values) + math.log(bend) - math.log(2), math.log(LARGEST)))
        return np.where(np.abs(values) < 700, near, far)


def evenly(low: float, high: float, count: int) -> Any:
    """*count* numbers from *low* to *high*, as ``numpy.linspace`` has them, without a distance that no number has."""
    share = np.linspace(0.0, 1.0, count)
    return low * (1 - share) + high * share


def over_bars(curve: Any, log: bool) -> Any:
    """The values of a curve over a histogram's bars that are drawn: on logarithmic heights none of less than half a weight."""
    values = np.asarray(curve, dtype=np.float64)
    return np.where(values >= 0.5, values, np.nan) if log else values


def outline(edges: Any, heights: Any, bottom: float) -> tuple[Any, Any]:
    """(x, y) of a line around bars as high as *heights* between *edges*, down to *bottom* beside those that are NaN: so one bar
    alone is seen, too. There NaN parts the line.
    """
    xs, tops = (np.repeat(np.asarray(each, dtype=np.float64), 2) for each in (edges, heights))
    ys = np.pad(tops, 1, constant_values=np.nan)
    there = np.isfinite(ys)
    beside = ~there & (np.roll(there, 1) | np.roll(there, -1))  # the ends of a run of bars
    return xs, np.where(there, ys, np.where(beside, bottom, np.nan))


def number(value: float, digits: int = 3) -> str:
    """A value with so many significant digits, a real minus sign, and no more of an exponent than it needs."""
    if not math.isfinite(value):
        return "NaN" if math.isnan(value) else "∞" if value > 0 else "−∞"
    if value == 0:
        return "0"
    text = f"{value:.{digits - 1}e}"
    if 1e-3 <= abs(float(text)) < 1e7:
        text = f"{float(text):,.0f}" if abs(float(text)) >= 10**digits else f"{value:.{digits}g}"
    if "e" in text:
        mantissa, exponent = text.split("e")
        mantissa = mantissa.rstrip("0").rstrip(".") if "." in mantissa else mantissa
        text = f"{mantissa}e{int(exponent)}"
    return text.replace("-", "−")


def numbers(values: Sequence[float]) -> list[str]:
    """The values with as few digits as tell them apart."""
    for digits in range(3, 9):
        texts = [number(value, digits) for value in values]
        if len(set(texts)) == len(set(values)):
            break
    return texts


def percent(share: float) -> str:
    """A share as a short percentage; never ``0 %`` for what is there, nor ``100 %`` for what is not all."""
    if 0 < share < 0.0005:
        return "<0.05 %"
    if 0.9995 < share < 1:
        return ">99.9 %"
    return f"{100 * share:.2g} %" if share < 0.1 else f"{100 * share:.3g} %"
