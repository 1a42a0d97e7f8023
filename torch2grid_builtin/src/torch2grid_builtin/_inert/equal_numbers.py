"""Which numbers are one key of a mapping: equal ones are to Python, of whatever type they are."""

from __future__ import annotations

import re
from decimal import Decimal, DecimalException
from fractions import Fraction
from typing import Any

from torch2grid_builtin._inert.malformed import Malformed

_BITS = 1024  # of a number that is a key: those of the longest float
_DIGITS = 100  # of a number in a text
_LONGEST = 330  # decimal digits in front of or behind the point, beyond which no float is
_FRACTION = re.compile(r"-?\d+(?:/\d+)?", re.ASCII)


def of_number(number: complex) -> Any:
    """What is equal where numbers are, hashed safely; ``None`` for NaN. Raises ``Malformed`` for a very long one."""
    if number != number:
        return None
    if isinstance(number, complex):
        if number.imag != 0:
            return (4, number.real, number.imag)
        number = number.real
    if isinstance(number, float):
        if not number.is_integer():
            return (0, repr(number))
        number = int(number)
    if -(2**53) < number < 2**53:
        return int(number)  # no two of these have one hash
    if number.bit_length() > _BITS:
        raise Malformed(f"a mapping with a number of {number.bit_length()} bits as a key", "it is not a checkpoint")
    return (0, hex(number))


def of_complex(args: tuple[Any, ...]) -> Any:
    """The same of ``complex(*args)``. Raises ``Malformed`` where that is no number."""
    try:
        made = complex(*args) if all(type(each) is not str or len(each) <= _DIGITS for each in args) else None
    except (ValueError, TypeError, OverflowError):
        made = None
    if made is None:
        raise Malformed("a mapping with an invalid complex number as a key")
    return of_number(made)


def of_decimal(args: tuple[Any, ...]) -> Any:
    """The same of ``decimal.Decimal(text)``, ``None`` for what is made in another way, or no number."""
    try:
        made = Decimal(args[0]) if len(args) == 1 and type(args[0]) is str and len(args[0]) <= _DIGITS else None
    except DecimalException:
        made = None
    if made is None or made.is_nan():
        return None
    if made.is_infinite():
        return of_number(float(made))
    if not made:
        return 0
    sign, digits, exponent = made.as_tuple()
    if isinstance(exponent, int) and exponent > -_LONGEST and made.adjusted() < _LONGEST:
        return _of_ratio(Fraction(made))
    return (8, sign, "".join(map(str, digits)).rstrip("0"), made.adjusted())


def of_fraction(args: tuple[Any, ...]) -> Any:
    """The same of ``fractions.Fraction(text)`` or of two integers, ``None`` for what is made in another way."""
    try:
        if len(args) == 1 and type(args[0]) is str and len(args[0]) <= _DIGITS and _FRACTION.fullmatch(args[0]):
            return _of_ratio(Fraction(args[0]))
        if len(args) == 2 and all(type(each) is int and each.bit_length() <= _BITS for each in args):
            return _of_ratio(Fraction(*args))
    except ZeroDivisionError:
        pass
    return None


def _of_ratio(number: Fraction) -> Any:
    if number.denominator == 1 and number.numerator.bit_length() <= _BITS:
        return of_number(number.numerator)
    try:
        near = float(number)
    except OverflowError:
        near = 0.0
    return of_number(near) if near == number else (7, f"{number.numerator:x}/{number.denominator:x}")
