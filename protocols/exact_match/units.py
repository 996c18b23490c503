r"""Units behind a number: ``5\text{ cm}``, ``12 square inches``, ``\$18``, ``90^\circ``, ``50\%``, ``20 km/h``.

A benchmark's gold answer often drops the unit, so a unit on one side only is no difference. Two units that are both
known must agree in value: 100 cm is 1 m, 5 cm is not 5 m. A word that is no known unit ("5 apples") agrees with any.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction

from protocols.exact_match.expression import word_set

_UNITS: dict[str, tuple[str, Fraction]] = {}


def _define(dimension: str, factor: Fraction | int, names: str) -> None:
    for name in names.split():
        _UNITS[name] = (dimension, Fraction(factor))


_define("length", Fraction(1, 1000), "mm millimeter millimetre")
_define("length", Fraction(1, 100), "cm centimeter centimetre")
_define("length", 1, "m meter metre")
_define("length", 1000, "km kilometer kilometre")
_define("length", Fraction(254, 10000), "in inch inche")
_define("length", Fraction(3048, 10000), "ft foot feet")
_define("length", Fraction(9144, 10000), "yd yard")
_define("length", Fraction(1609344, 1000), "mi mile")
_define("time", 1, "s sec second")
_define("time", 60, "min minute")
_define("time", 3600, "h hr hour")
_define("time", 86400, "day")
_define("time", 604800, "week")
_define("month", 1, "month")
_define("month", 12, "year yr")
_define("mass", Fraction(1, 1000), "mg milligram")
_define("mass", 1, "g gram")
_define("mass", 1000, "kg kilogram")
_define("weight", 1, "oz ounce")
_define("weight", 16, "lb lbs pound")
_define("volume", Fraction(1, 1000), "ml milliliter millilitre")
_define("volume", 1, "l liter litre")
_define("gallon", 1, "gal gallon")
_define("usd", 1, "usd dollar buck")
_define("usd", Fraction(1, 100), "cent penny pennie")
_define("eur", 1, "eur euro")
_define("gbp", 1, "gbp")
_define("yen", 1, "yen")
_define("inr", 1, "inr rupee")
_define("angle", 1, "deg degree")
_define("radian", 1, "rad radian")
_define("celsius", 1, "degc celsius")
_define("fahrenheit", 1, "degf fahrenheit")
_define("percent", 1, "percent percentage pct")
_define("clock-morning", 1, "am")
_define("clock-evening", 1, "pm")

_SHORTHANDS = {"mph": "mile/hour", "kph": "km/h", "kmh": "km/h", "mps": "m/s", "rpm": "revolution/minute"}
_SCALES = {
    "hundred": 100,
    "thousand": 1000,
    "million": 10**6,
    "billion": 10**9,
    "trillion": 10**12,
    "dozen": 12,
}
# Words that change what the number says instead of naming its unit.
_HEDGES = word_set(
    "or and not if for when where unless maybe perhaps possibly either neither but except minus plus "
    "times less more than mod base no none never infinity half third quarter equals"
)
_FILLERS = word_set("a an the of total each about approximately approx exactly only long tall old away left")
_SQUARE = re.compile(r"\b(?:square|sq\.?)\s+(\w+)|\b(\w+)\s+squared\b")
_CUBE = re.compile(r"\b(?:cubic|cu\.?)\s+(\w+)|\b(\w+)\s+cubed\b")


@dataclass(frozen=True, slots=True)
class Unit:
    """A unit of measurement.

    Attributes:
        dimensions: sorted pairs of dimension and power; ``None`` for words that are no known unit.
        factor: size in the base unit of its dimensions.
        scale: number words in front of it, ``million`` say.
    """

    dimensions: tuple[tuple[str, int], ...] | None
    factor: Fraction = Fraction(1)
    scale: int = 1


def is_unit_word(word: str) -> bool:
    """Tell whether a bare word is a known unit or number word."""
    lowered = word.lower()
    return _base(lowered) in _UNITS or lowered in _SHORTHANDS or lowered in _SCALES


def read_unit(text: str) -> Unit | None:
    """Read what stands behind a number; ``None`` where it is none and changes the answer (``or 4``)."""
    plain = re.sub(r"\\(?:cdot|times)|[{}()]|\*", " ", text.lower())
    plain = re.sub(r"\b([ap])\.\s?m\b\.?", r"\1m", plain)
    plain = re.sub(r"\s+per\s+", "/", plain)
    plain = _SQUARE.sub(lambda m: f"{m.group(1) or m.group(2)}^2", plain)
    plain = _CUBE.sub(lambda m: f"{m.group(1) or m.group(2)}^3", plain)
    for short, long in _SHORTHANDS.items():
        plain = re.sub(rf"\b{short}\b", long, plain)
    plain = re.sub(r"\^\s*-\s*", "^-", re.sub(r"\s*([\^/])\s*", r"\1", plain))
    words = re.findall(r"[^\s^/]+", re.sub(r"\^-?\d+", "", plain))
    if any(word.strip(".,;:") in _HEDGES for word in words) or re.search(r"(?<!\^)(?<!\^-)\b\d|[=<>+]", plain):
        return None
    scale = 1
    powers: dict[str, int] = {}
    factor = Fraction(1)
    known = False
    seen: set[str] = set()
    for match in re.finditer(r"(/?)([^\s^/]+)(?:\^(-?\d{1,2}))?", plain):
        name = match.group(2).strip(".,;:'\"")
        if not name or name in _FILLERS:
            continue
        if name in _SCALES:
            scale *= _SCALES[name]
            continue
        unit = _UNITS.get(_base(name))
        if unit is None:
            return Unit(None, scale=scale)
        power = int(match.group(3) or 1) * (-1 if match.group(1) else 1)
        dimension, size = unit
        # "$18 dollars" names its unit twice.
        if dimension in seen and dimension in ("usd", "eur", "percent", "angle") and power == 1:
            continue
        seen.add(dimension)
        known = True
        powers[dimension] = powers.get(dimension, 0) + power
        factor *= size**power
    if not known:
        return Unit(None, scale=scale)
    return Unit(tuple(sorted((d, p) for d, p in powers.items() if p)), factor, scale)


def _base(word: str) -> str:
    word = word.rstrip(".")
    if word in _UNITS:
        return word
    return word.removesuffix("s")
