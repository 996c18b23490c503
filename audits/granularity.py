"""Which percentages a number of problems can give at all (the GRIM test of Brown and Heathers, 2017).

A score of c solved among n problems is ``100 * c / n`` percent. Printed with d decimals it can only take the values of
these n + 1 fractions. The printed decimals count: ``33.3`` is a wider claim than ``33.30``. All arithmetic is exact.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from specref_core.errors import InputError

_NUMBER = re.compile(r"\d+(?:\.(\d*))?|\.(\d+)", re.ASCII)
MAX_DECIMALS = 12
LARGEST_N = 10_000_000
"""Benchmarks are smaller; beyond this every usual percentage is possible and the question is empty."""


@dataclass(frozen=True, slots=True)
class Percentage:
    """A percentage as it was printed.

    Attributes:
        units: the value in units of the last printed decimal; 870 for ``8.70``.
        decimals: printed decimals; 2 for ``8.70``.
    """

    units: int
    decimals: int

    @classmethod
    def parse(cls, text: str) -> Percentage:
        """Read ``8.70`` or ``8.70%``.

        Raises:
            InputError: the text is not a plain decimal number from 0 to 100; it says what is wrong.
        """
        bare = text.strip()
        if bare.endswith("%"):
            bare = bare[:-1].rstrip()
        match = _NUMBER.fullmatch(bare)
        if match is None:
            raise InputError(f"{text!r} {_complaint(bare)}")
        decimals = len(match[1] or match[2] or "")
        if decimals > MAX_DECIMALS:
            raise InputError(f"{text!r} has {decimals} decimals; scores are printed with at most {MAX_DECIMALS}")
        units = int(Fraction(bare) * 10**decimals)
        if units > 100 * 10**decimals:
            raise InputError(f"{text!r} is above 100; expected a percentage from 0 to 100")
        return cls(units, decimals)

    @property
    def value(self) -> Fraction:
        """The printed number, exactly."""
        return Fraction(self.units, 10**self.decimals)

    def __float__(self) -> float:
        return float(self.value)

    def __str__(self) -> str:
        whole, part = divmod(self.units, 10**self.decimals)
        return f"{whole}.{part:0{self.decimals}d}" if self.decimals else str(whole)


def possible_counts(percentage: Percentage, n: int) -> range:
    """Return the counts c for which c of n may be printed as this percentage.

    Exact ties may go either way: half-up and half-even are both in use, and binary floating point breaks ties by
    accident. Truncation is not accepted.

    Args:
        percentage: as printed.
        n: problems.

    Returns:
        The consecutive counts, each within ``0..n``; empty where the percentage is impossible.

    Raises:
        InputError: n is not from 1 to ten million.
    """
    check_size(n)
    # |100 c / n - units / 10^d| <= 1 / (2 * 10^d), multiplied by 2 n 10^d: everything stays an integer.
    scale = 200 * 10**percentage.decimals
    first = -(-(2 * percentage.units - 1) * n // scale)
    last = (2 * percentage.units + 1) * n // scale
    return range(max(0, first), min(n, last) + 1)


def nearest_count(percentage: Percentage, n: int) -> int:
    """Return the count whose share is nearest to the percentage, halves upwards; it need not be printable as it.

    Raises:
        InputError: n is not from 1 to ten million.
    """
    check_size(n)
    scaled = percentage.value * n / 100
    return min(n, (2 * scaled.numerator + scaled.denominator) // (2 * scaled.denominator))


def nearest_values(percentage: Percentage, n: int) -> list[Percentage]:
    """Return the nearest printable percentages below and above an impossible one, or the one itself if possible.

    Rounded half up to the same number of decimals.

    Raises:
        InputError: n is not from 1 to ten million.
    """
    if possible_counts(percentage, n):
        return [percentage]
    below = percentage.units * n // (100 * 10**percentage.decimals)
    values = [_printed(c, n, percentage.decimals) for c in (below, below + 1) if 0 <= c <= n]
    return sorted(set(values), key=lambda value: value.units)


def fitting_sizes(percentage: Percentage, largest: int) -> list[int]:
    """Return every n up to ``largest`` for which the percentage is possible, ascending.

    Args:
        percentage: as printed.
        largest: largest n tried.

    Raises:
        InputError: ``largest`` is not from 1 to ten million.
    """
    check_size(largest)
    n = np.arange(1, largest + 1, dtype=object if percentage.decimals > 6 else np.int64)
    scale = 200 * 10**percentage.decimals
    first = -(-(2 * percentage.units - 1) * n // scale)
    last = (2 * percentage.units + 1) * n // scale
    fits = np.maximum(first, 0) <= np.minimum(last, n)
    return [int(size) for size in n[fits.astype(bool)]]


def check_size(n: int) -> None:
    """Refuse a number of problems that is not from 1 to ten million.

    Raises:
        InputError: naming n.
    """
    if not 1 <= n <= LARGEST_N:
        raise InputError(f"n={n}: expected a number of problems from 1 to {LARGEST_N}")


def _printed(count: int, n: int, decimals: int) -> Percentage:
    doubled = 200 * count * 10**decimals + n
    return Percentage(doubled // (2 * n), decimals)


def _complaint(text: str) -> str:
    if not text:
        return "is empty; expected a percentage such as 33.00"
    if text.lstrip("+-").lower() in ("nan", "inf", "infinity"):
        return "is not a number; leave the row out if nothing was measured"
    if text.startswith(("-", "−")):
        return "is negative; expected a percentage from 0 to 100"
    if "e" in text.lower():
        return "uses an exponent, which hides how many decimals were printed; write 10.0, not 1e1"
    if "," in text:
        return "holds a comma; write decimals with a point (33.00) and no thousands separators"
    return "is not a percentage such as 33.00; write digits and a point only (a % sign may follow)"
