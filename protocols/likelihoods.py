"""Ask a generator for likelihoods and hold it to the capability's contract, as ``loading.generate`` does for texts."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

from specref_core.errors import GeneratorError, InputError
from specref_core.generator import HasLogLikelihood, LikelihoodRequest, LogLikelihood, MonteCarlo

if TYPE_CHECKING:
    from collections.abc import Sequence

    from specref_core.generator import Generator


def estimate_likelihoods(
    generator: Generator, requests: Sequence[LikelihoodRequest], *, monte_carlo: MonteCarlo, seed: int
) -> list[list[LogLikelihood]]:
    """Call ``generator.log_likelihood`` and check what comes back.

    Raises:
        InputError: the generator has no such method.
        GeneratorError: it raised, returned something else than one estimate a continuation, or a value that is no
            number or above every logarithm of a probability can be.
    """
    name = repr(generator.name)
    if not isinstance(generator, HasLogLikelihood):
        raise InputError(
            f"generator {name} has no log_likelihood(requests, *, monte_carlo, seed) method, which likelihoods need"
        )
    try:
        rows: Any = generator.log_likelihood(requests, monte_carlo=monte_carlo, seed=seed)
    except Exception as error:
        raise GeneratorError(f"generator {name} raised {type(error).__name__}: {error}") from error
    if not isinstance(rows, (list, tuple)) or len(rows) != len(requests):
        got = f"{len(rows)} rows" if isinstance(rows, (list, tuple)) else f"a {type(rows).__name__}"
        raise GeneratorError(f"generator {name}: log_likelihood returned {got} for {len(requests)} requests")
    for position, (row, request) in enumerate(zip(rows, requests, strict=True)):
        if (
            not isinstance(row, (list, tuple))
            or len(row) != len(request.continuations)
            or not all(isinstance(estimate, LogLikelihood) for estimate in row)
        ):
            raise GeneratorError(
                f"generator {name}: log_likelihood returned {row!r:.80} for request {position}; expected "
                f"{len(request.continuations)} LogLikelihood, one a continuation, in order"
            )
        for estimate in row:
            if math.isnan(estimate.value) or estimate.value == math.inf or estimate.standard_error < 0:
                raise GeneratorError(
                    f"generator {name}: log-likelihood {estimate.value} ± {estimate.standard_error} for request "
                    f"{position}; expected a number or minus infinity, and an error that is not negative"
                )
    return [list(row) for row in rows]


def to_json(row: Sequence[LogLikelihood]) -> str:
    """Return the estimates of one request as a ledger keeps them."""
    return json.dumps(
        [
            [float(e.value), float(e.standard_error), int(e.samples), int(e.tokens), list(map(float, e.rounds))]
            for e in row
        ]
    )


def from_json(text: str) -> list[LogLikelihood]:
    """Return the estimates of one request; rows written before rounds were kept have none."""
    return [
        LogLikelihood(value, error, samples, tokens, tuple(rounds[0]) if rounds else ())
        for value, error, samples, tokens, *rounds in json.loads(text)
    ]
