r"""Bring the many spellings of one answer to one: fonts, spacing, delimiters, unicode, separators, punctuation.

Nothing here interprets an answer; ``\dfrac12`` becomes ``\frac12``, never ``0.5``. Every rule is a pass over the text.
"""

from __future__ import annotations

import re
from fractions import Fraction
from functools import partial

_SUPERSCRIPTS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹", "0123456789")
_SUBSCRIPTS = str.maketrans("₀₁₂₃₄₅₆₇₈₉", "0123456789")
_FULL_WIDTH = {ord("０") + i: str(i) for i in range(10)}
_UNICODE = {
    **dict.fromkeys("\u2212\u2010\u2011\u2012\u2013\u2014\ufe63\uff0d", "-"),
    **dict.fromkeys("\u00a0\u2002\u2003\u2007\u2008\u2009\u200a\u202f\u3000", " "),
    **dict.fromkeys("\u200b\u200c\u200d\u2060\ufeff", ""),
    **dict.fromkeys("\u2018\u2019\u02bc\u2032", "'"),
    **dict.fromkeys("\u201c\u201d", '"'),
    "\u00d7": r"\times ",
    "\u22c5": r"\cdot ",
    "\u00b7": r"\cdot ",
    "\u00f7": r"\div ",
    "\u2044": "/",
    "\u2215": "/",
    "\u03c0": r"\pi ",
    "\u03b8": r"\theta ",
    "\u03b1": r"\alpha ",
    "\u03b2": r"\beta ",
    "\u03bb": r"\lambda ",
    "\u221e": r"\infty ",
    "\u221a": r"\sqrt ",
    "\u00b1": r"\pm ",
    "\u2264": r"\le ",
    "\u2265": r"\ge ",
    "\u2260": r"\ne ",
    "\u2248": r"\approx ",
    "\u222a": r"\cup ",
    "\u2208": r"\in ",
    "\u2205": r"\emptyset ",
    "\u2220": r"\angle ",
    "\u00b0": r"^\circ ",
    "\u2026": r"\ldots ",
    "\u00bd": r"\frac{1}{2}",
    "\u2153": r"\frac{1}{3}",
    "\u2154": r"\frac{2}{3}",
    "\u00bc": r"\frac{1}{4}",
    "\u00be": r"\frac{3}{4}",
    "\u211d": r"\mathbb{R}",
}
_UNICODE_TABLE = str.maketrans({**_UNICODE})

_SPACING = re.compile(
    r"\\(?:quad|qquad|thinspace|medspace|thickspace|enspace|displaystyle|textstyle|limits|nolimits|nonumber|hfill|strut|null)"
    r"(?![a-zA-Z])|\\[hv]space\*?\s*\{[^{}]*\}|\\h?phantom\s*\{[^{}]*\}|(?<!\\)\\[,;: ]|~"
)
_SIZES = re.compile(r"\\(?:left|right|middle|[bB]igg?[lrm]?)(?![a-zA-Z])\s*\.?")
_FRACTIONS = re.compile(r"\\(?:[dtcsx]|nice)frac(?![a-zA-Z])")
_UNIT_FRACTION = re.compile(r"\\frac\s*\{\s*\\text\{([^{}]*)\}\s*\}\s*\{\s*\\text\{([^{}]*)\}\s*\}")
_TIMES_TEN = re.compile(r"(?<=\d)\s*[xX]\s*(?=10\s*\^)")
_BASE = re.compile(
    r"\s*(?:_\{\s*(?:\\text\{)?base\s*\}?\s*(?P<index>\w+)\s*\}|(?:\\text\{\s*)?\(?\s*\bbase[\s-]*(?P<behind>\w+)\s*\)?\}?)"
)
_RATIO = re.compile(r"(?<=\d)\s*(?:\\text\{\s*to\s*\}|\bto\b)\s*(?=\d)")
_WORD_SIGNS = (
    (re.compile(r"\\text\{\s*(?:negative|minus)\s*\}"), "-"),
    (re.compile(r"\\text\{\s*infinity\s*\}"), r"\\infty "),
)
_INFIX = tuple(
    (
        re.compile(rf"\{{([^{{}}]*)\\{infix}(?![a-zA-Z])([^{{}}]*)\}}|^([^{{}}]*)\\{infix}(?![a-zA-Z])([^{{}}]*)$"),
        command,
    )
    for infix, command in (("over", "frac"), ("choose", "binom"))
)
_COLOURS = re.compile(r"\\(?:color|textcolor)\s*(?:\[[^\]]*\])?\s*\{[^{}]*\}")
_WRAPPERS = re.compile(r"\\(?:boxed|fbox|underline|ensuremath|mathstrut|text(?:normal|up))(?=\s*\{)")
_FONT_SWITCHES = re.compile(r"\\(?:bf|rm|it|tt|sf|bfseries|large|Large|huge|small)(?![a-zA-Z])")
_TEXT = re.compile(
    r"\\(?:text|textbf|textit|textrm|texttt|textsf|textsc|mbox|hbox|emph|operatorname\*?)\s*\{([^{}]*)\}"
)
_MATH_FONT = re.compile(r"\\(?:mathrm|mathbf|mathit|mathsf|mathtt|boldsymbol|bm|mathnormal)\s*\{([^{}]*)\}")
_BARE_FONT = re.compile(r"\\(?:mathrm|mathbf|mathit|mathsf|boldsymbol|bm)\s+([A-Za-z])")
_NOT_PROSE = re.compile(r"[\d=+*/^_\\<>$]")
_DEGREE = re.compile(
    r"\s*(?:\^\s*(?:\{\s*\\circ\s*\}|\\circ(?![a-zA-Z]))|\\degree(?![a-zA-Z])|\^\s*\{?\\text\{o\}\}?|(?<=\d)\^(?:\{o\}|o(?![a-zA-Z])))\s*(?:\\text\{\s*([CF])\s*\}|([CF])(?![a-zA-Z]))?"
)
_PERCENT = re.compile(r"\s*\\?%|(?<=\d)\s*\\percent(?![a-zA-Z])")
_CURRENCY = {
    "\\$": "usd",
    "$": "usd",
    "USD": "usd",
    "€": "eur",
    "\\euro": "eur",
    "£": "gbp",
    "\\pounds": "gbp",
    "¥": "yen",
    "₹": "inr",
    "Rs": "inr",
    "Rs.": "inr",
}
_CURRENCY_SIGN = r"(?P<sign>\bUSD\b|\bRs\b\.?|₹|\\\$|\$|€|£|¥|\\euro(?![a-zA-Z])|\\pounds(?![a-zA-Z]))"
_PRICE = re.compile(_CURRENCY_SIGN + r"\s*(?P<amount>-?\s*\d[\d,.]*\d|-?\s*\d|-?\.\d+)(?!\d)")
_LONE_CURRENCY = re.compile(_CURRENCY_SIGN)
_MATH_DELIMITERS = re.compile(r"(?<!\\)\\[()\[\]]|\$\$")
_ROW_SKIP = re.compile(r"(?<=\\\\)\s*\[\s*-?[\d.]*\s*(?:pt|em|ex|mm|cm|\\jot)\s*\]")
# Stands for TeX's row separator, so that no rule takes its second backslash for the start of a command.
_ROW = "\x1e"
_CLOCK = re.compile(
    r"(?:\\(?:text|mathrm|mbox)\s*\{\s*)?(?<![\d:.])(\d{1,2})(?::(\d\d))?\s*(?:\\[,;: ]|~)*"
    r"\s*(?:\\(?:text|mathrm|mbox)\s*\{)?\s*([ap])\.?\s?m\b\.?\s*\}?",
    re.IGNORECASE,
)
_THOUSANDS = re.compile(
    r"(?<=\d)(?:,(?:\s*(?:\\[!,;:]|~))+|\{,\}|\{,\\!\}|\\[,;:! ]|\\thinspace|\{\\,\}|~|'|\u2009)\s*(?=\d{3}(?!\d))"
)
_DECIMAL_COMMA = re.compile(r"(?<=\d)\{,\}(?=\d)")
_SPACED_THOUSANDS = re.compile(r"(?<![\d.,/_^])\d{1,3}(?: \d{3})+(?![\d/]| *[/\d])")
_REPEATING = re.compile(r"(\d*)\.(\d*)\\(?:overline|bar|dot|overbar)\s*(?:\{(\d+)\}|(\d))")
_DOTTED = re.compile(r"(\d*)\.(\d{2,60})\s*(?:\\ldots|\\dots|\\cdots|\.\.\.)(?:\.?)")
_PUNCTUATION = re.compile(r"[\s.,;:?\\]+$")
_LEADING = re.compile(r"^(?:[\s:]|\\\\|=(?!=))+")


def strict_form(answer: str, *, form: str) -> str:
    """Return what the strict grader compares: the answer without blanks, math delimiters and final full stop.

    Args:
        answer: the extracted or the gold answer.
        form: ``gsm8k`` also drops the dollar sign and the thousands comma, as the benchmark's own script does.
    """
    # A blank between two digits separates two numbers.
    text = answer.strip() if form == "bbh" else re.sub(r"(?<!\d)\s+|\s+(?!\d)|\\[()\[\]]", "", answer)
    if form == "gsm8k":
        text = re.sub(r"[,$]", "", text)
    if form != "bbh" and len(text) > 1 and text.count("$") >= 2 and text[0] == text[-1] == "$":
        text = text.strip("$")
    return text.removesuffix(".")


def clean(answer: str) -> str:
    r"""Return an answer in one spelling: ASCII, no spacing or size commands, ``\text`` for every text font.

    Signs that follow or precede a number become text behind it: ``\$18`` is ``18\text{usd}``, ``90^\circ`` is
    ``90\text{deg}`` and ``50\%`` is ``50\text{percent}``.
    """
    text = re.sub(r"[⁰¹²³⁴⁵⁶⁷⁸⁹]+", lambda m: "^{" + m.group().translate(_SUPERSCRIPTS) + "}", answer)
    text = re.sub(r"[₀₁₂₃₄₅₆₇₈₉]+", lambda m: "_{" + m.group().translate(_SUBSCRIPTS) + "}", text)
    text = text.translate(_UNICODE_TABLE).translate(_FULL_WIDTH).replace("**", "^")
    text = _CLOCK.sub(_clock, _MATH_DELIMITERS.sub(" ", _ROW_SKIP.sub("", text)))
    if "\\begin" not in text:
        # LaTeX that was escaped once too often.
        text = re.sub(r"\\{2,}(?=[a-zA-Z{}])", r"\\", text)
    text = text.replace("\\\\", _ROW)
    # An even number of bare dollars delimits formulas; an odd one is a price.
    if len(re.findall(r"(?<!\\)\$", text)) % 2 == 0:
        text = re.sub(r"(?<!\\)\$", " ", text)
    text = text.replace("\\textdollar", "\\$").replace("\\text{,}", "{,}")
    text = _THOUSANDS.sub("", text)
    text = _DECIMAL_COMMA.sub(".", text).replace("{,}", ",")
    text = _COLOURS.sub(" ", _WRAPPERS.sub("", text))
    text = _FONT_SWITCHES.sub(" ", _SPACING.sub(" ", text)).replace("\\!", "")
    for infix, command in _INFIX:
        text = infix.sub(partial(_prefix, command=command), text)
    text = _FRACTIONS.sub(r"\\frac", _SIZES.sub("", text)).replace("\\dbinom", "\\binom").replace("\\tbinom", "\\binom")
    text = _BARE_FONT.sub(r"\1", _MATH_FONT.sub(_math_font, _TEXT.sub(_text, text)))
    text = _UNIT_FRACTION.sub(r"\\text{\1/\2}", text)
    for words, sign in _WORD_SIGNS:
        text = words.sub(sign, text)
    text = _RATIO.sub(":", _TIMES_TEN.sub(r"\\times ", text))
    text = _BASE.sub(lambda m: f"_{{{m['index'] or m['behind']}}}", text)
    text = _DEGREE.sub(lambda m: f"\\text{{deg{m.group(1) or m.group(2) or ''}}}", text)
    text = _PERCENT.sub(r"\\text{percent}", text)
    text = _PRICE.sub(lambda m: f"{m['amount']}\\text{{{_CURRENCY[m['sign']]}}}", text)
    text = _LONE_CURRENCY.sub(lambda m: f"\\text{{{_CURRENCY[m['sign']]}}}", text)
    text = _REPEATING.sub(lambda m: _repeating(m.group(1), m.group(2), m.group(3) or m.group(4)), text)
    text = _DOTTED.sub(_dotted, text)
    text = _SPACED_THOUSANDS.sub(lambda m: m.group().replace(" ", ""), text)
    text = text.replace(_ROW, "\\\\")
    text = re.sub(r"\s+", " ", re.sub(r"\b[Ii]nfinity\b", r"\\infty ", text))
    return _LEADING.sub("", _PUNCTUATION.sub("", text.replace("\\ldotp", "."))).strip()


def _prefix(match: re.Match[str], command: str) -> str:
    r"""Write plain TeX's ``{3 \over 4}`` as ``\frac{3}{4}``."""
    left, right, whole_left, whole_right = match.groups()
    above, below = (left, right) if left is not None else (whole_left, whole_right)
    return f"\\{command}{{{above}}}{{{below}}}"


def _clock(match: re.Match[str]) -> str:
    """Write a time of day as one word: ``6:00 p.m.`` and ``6 PM`` are the same."""
    hour, minute, half = match.groups()
    return f"\\text{{clock{int(hour)}h{minute or '00'}{half.lower()}}}"


def _text(match: re.Match[str]) -> str:
    """Keep words as text; what holds digits or operators is mathematics in the wrong font."""
    content = match.group(1)
    if re.match(r"clock\d+h", content):
        return f"\\text{{{content}}}"
    if _NOT_PROSE.search(content) or not re.search(r"[^\W\d_]", content):
        return f" {content} "
    return f"\\text{{{content.strip()}}}"


def _math_font(match: re.Match[str]) -> str:
    content = match.group(1).strip()
    words = re.fullmatch(r"[A-Za-z ]{2,}", content) or re.fullmatch(r"[a-zA-Z]", content)
    if words and content not in ("e", "i", "d") and "mathrm" in match.group():
        return f"\\text{{{content}}}"
    return f"\\text{{{content}}}" if re.fullmatch(r"[A-Za-z ]{2,}", content) else f" {{{content}}}"


def _repeating(whole: str, fixed: str, period: str) -> str:
    r"""Write ``0.1\overline{6}`` as the fraction it is."""
    if len(fixed) + len(period) > 60:
        return f"{whole}.{fixed}\\overline{{{period}}}"
    base = Fraction(int((whole or "0") + fixed), 10 ** len(fixed))
    value = base + Fraction(int(period), (10 ** len(period) - 1) * 10 ** len(fixed))
    return f"{{({value.numerator}/{value.denominator})}}"


def _dotted(match: re.Match[str]) -> str:
    """Write ``0.333…`` as a fraction where it plainly repeats: three times one digit, or twice a longer period."""
    whole, digits = match.group(1), match.group(2)
    for length in range(1, len(digits) // 2 + 1):
        period = digits[-length:]
        times = 3 if length == 1 else 2
        if digits.endswith(period * times):
            fixed = digits
            while fixed.endswith(period):
                fixed = fixed[:-length]
            return _repeating(whole, fixed, period)
    return f"{whole}.{digits}\\ldots"
