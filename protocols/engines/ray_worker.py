"""What runs on a worker: one generator, loaded there, that answers the batches it is sent.

Errors raised on purpose are returned, not raised: an exception that crosses a Ray call comes back as another class with
a traceback for a message.
"""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from protocols.engines.engine import Work, keep_traces
from protocols.scoring import produce
from specref_core.errors import SpecRefError
from specref_core.loading import fingerprint, load

if TYPE_CHECKING:
    from specref_core.generator import Completion, Generator


@dataclass(frozen=True, slots=True)
class Place:
    """Where a worker runs.

    Attributes:
        host: the node's name.
        pid: the worker's process there.
    """

    host: str
    pid: int

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}"


@dataclass(frozen=True, slots=True)
class Loaded:
    """What a worker has loaded; workers of one run must agree on all of it.

    Attributes:
        name: the generator's name.
        fingerprint: what it runs with.
        version: the worker's SpecRef.
    """

    name: str
    fingerprint: str
    version: str


class RayWorker:
    """A generator in a process of its own; made into an actor by ``ray_engine``.

    Args:
        target: ``pkg.mod:factory`` or ``path/to/file.py:factory``.
        folder: the folder that a relative path starts from and modules may be imported from: the driver's own.
    """

    def __init__(self, target: str, folder: str) -> None:
        self._target = target
        self._folder = folder
        self._generator: Generator | None = None

    def place(self) -> Place:
        """Say where this is; the first sign of life."""
        return Place(socket.gethostname(), os.getpid())

    def load(self) -> Loaded | SpecRefError:
        """Load the generator; what ``specref_core.loading.load`` raises is returned."""
        if Path(self._folder).is_dir():
            os.chdir(self._folder)
        try:
            self._generator = load(self._target)
            return Loaded(self._generator.name, fingerprint(self._generator), version("specref"))
        except SpecRefError as error:
            return error

    def answer(self, work: Work) -> list[Completion] | SpecRefError:
        """Answer a batch; an error of the generator is returned."""
        assert self._generator is not None
        try:
            made = produce(self._generator, work.problems, budget=work.budget, seed=work.seed, settings=work.settings)
        except SpecRefError as error:
            return error
        return keep_traces(made, traces=work.traces)
