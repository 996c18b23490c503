"""The process that runs Math-Verify: reads pairs of answers as JSON lines, writes one verdict a line.

A timer of processor time with the system's own handler ends it when an answer takes too long, inside C code and without
a parent too. Nothing but verdicts can reach the answer channel: standard output is moved away before anything is
imported.
"""

from __future__ import annotations

import json
import logging
import os
import resource
import signal
import sys

# sympy alone maps well under 1 GiB; more is an answer that explodes.
_MEMORY_BYTES = 4 * 2**30


def serve() -> None:
    """Answer pairs until standard input ends."""
    channel = os.fdopen(os.dup(1), "w", encoding="utf-8", buffering=1)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY_BYTES, _MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    from math_verify import LatexExtractionConfig, parse, verify

    logging.disable(logging.CRITICAL)
    # The plain-expression extractor is left out: it hands text to sympy's eval.
    config = [LatexExtractionConfig()]
    # The first formula loads the grammar and half of sympy; no answer's time should pay for that.
    warm = parse(r"$\int_0^1 \frac{x}{2} dx$", extraction_config=config, parsing_timeout=None)
    verify(warm, warm, timeout_seconds=None)
    channel.write("ready\n")
    for line in sys.stdin:
        gold, answer, seconds = json.loads(line)
        signal.signal(signal.SIGPROF, signal.SIG_DFL)
        signal.setitimer(signal.ITIMER_PROF, seconds)
        try:
            parsed = [
                parse(f"${text}$", extraction_config=config, parsing_timeout=None, raise_on_error=False)
                for text in (gold, answer)
            ]
            if not all(parsed):
                verdict = "unknown"
            else:
                same = verify(*parsed, timeout_seconds=None, raise_on_error=False)
                verdict = "equal" if same else "different"
        except MemoryError:
            verdict = "timeout"
        except Exception:
            verdict = "unknown"
        signal.setitimer(signal.ITIMER_PROF, 0)
        channel.write(json.dumps(verdict) + "\n")
