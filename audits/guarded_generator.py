"""A user's generator behind a wall clock: what raises, hangs or breaks its contract is named, and the run goes on."""

from __future__ import annotations

import sysconfig
import threading
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any

from specref_core import loading
from specref_core.errors import GeneratorError
from specref_core.generator import HasLogLikelihood

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from specref_core.generator import Budget, Completion, Generator, LikelihoodRequest, LogLikelihood, MonteCarlo


_ROOT = Path(__file__).resolve().parent.parent
_NOT_THE_USERS = (
    "<",  # frozen and made-up files
    sysconfig.get_path("stdlib"),
    *(str(_ROOT / package) for package in ("specref_core", "audits", "protocols")),
)


class GuardedGenerator:
    """A generator whose calls end after a limit, one way or another.

    A call that is still running at its limit is left behind in a daemon thread: Python cannot end it. After that every
    call is refused at once, so that one hang costs one limit.

    Args:
        inner: the generator itself.
        limit: seconds of wall clock that one call may take.
    """

    def __init__(self, inner: Generator, *, limit: float) -> None:
        self.name = inner.name
        self.inner = inner
        self.limit = limit
        self._broken: str | None = None

    def generate(self, prompts: Sequence[str], *, budget: Budget, seed: int) -> list[Completion]:
        """Ask the generator and hold its answer to the contract.

        Raises:
            GeneratorError: it raised, hung, returned too few or too many completions, or something that is no text.
        """
        found: list[Completion] = self.timed(
            lambda: loading.generate(self.inner, prompts, budget=budget, seed=seed),
            f"generate({len(prompts)} prompts)",
        )
        return found

    def fingerprint(self) -> str:
        """Name the generator itself; the guard changes nothing.

        Raises:
            GeneratorError: its own ``fingerprint`` raised or hung.
        """
        try:
            named: str = self.timed(lambda: loading.fingerprint(self.inner), "fingerprint()")
        except Exception as error:
            if isinstance(error, GeneratorError):
                raise
            raise GeneratorError(
                f"fingerprint() of generator {self.name!r} raised {type(error).__name__}: {error}"
            ) from error
        return named

    def timed(self, call: Callable[[], Any], told: str) -> Any:
        """Run a call in a thread of its own and wait for it no longer than the limit.

        Raises:
            GeneratorError: it did not come back, or an earlier call did not.
        """
        if self._broken is not None:
            raise GeneratorError(f"{self._broken}; it is not asked again in this run")
        answer: list[Any] = []
        raised: list[BaseException] = []

        def work() -> None:
            try:
                answer.append(call())
            except BaseException as error:
                raised.append(error)

        thread = threading.Thread(target=work, name=f"generator {self.name}", daemon=True)
        thread.start()
        thread.join(self.limit)
        if thread.is_alive():
            self._broken = (
                f"generator {self.name!r} hangs: {told} did not return within {self.limit:g} s "
                "(give a slow one more with --call-limit SECONDS)"
            )
            raise GeneratorError(self._broken)
        if raised:
            error = raised[0]
            if isinstance(error, (Exception, KeyboardInterrupt)):
                raise error
            raise GeneratorError(f"generator {self.name!r} raised {type(error).__name__}: {error}") from error
        return answer[0]


class GuardedLikelihoodGenerator(GuardedGenerator):
    """A guarded generator that can score given continuations too."""

    def log_likelihood(
        self, requests: Sequence[LikelihoodRequest], *, monte_carlo: MonteCarlo, seed: int
    ) -> list[list[LogLikelihood]]:
        """Score every continuation, within the limit.

        Raises:
            GeneratorError: it did not come back in time.
        """
        inner: Any = self.inner
        found: list[list[LogLikelihood]] = self.timed(
            lambda: inner.log_likelihood(requests, monte_carlo=monte_carlo, seed=seed),
            f"log_likelihood({len(requests)} requests)",
        )
        return found


def raised_at(error: BaseException) -> str:
    """Return where a generator's own error was raised, as `` (file.py, line 7, in write)``; empty where it raised none.

    Args:
        error: with the generator's own error as its first cause.
    """
    first = error
    while first.__cause__ is not None:
        first = first.__cause__
    if first is error or isinstance(first, GeneratorError):
        return ""
    frames = traceback.extract_tb(first.__traceback__)
    # The deepest frame may belong to a library; what a user can mend is the last one of their own.
    own = [
        frame
        for frame in frames
        if not frame.filename.startswith(_NOT_THE_USERS) and "site-packages" not in Path(frame.filename).parts
    ]
    if not own:
        return ""
    last = own[-1]
    return f" ({Path(last.filename).name}, line {last.lineno}, in {last.name})"


def guard(inner: Generator, *, limit: float) -> GuardedGenerator:
    """Put a generator behind the clock, its likelihoods with it where it has any."""
    if isinstance(inner, GuardedGenerator):
        return inner
    kind = GuardedLikelihoodGenerator if isinstance(inner, HasLogLikelihood) else GuardedGenerator
    return kind(inner, limit=limit)
