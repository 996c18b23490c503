"""The engine whose workers are actors on Ray: each holds one generator on the GPUs it is given.

One batch is at one worker at a time. A worker that is lost (killed, out of memory, its node gone) gives its batch back
to the front of the queue and is replaced; whatever it had answered before is with the driver already. An answer that
arrives is handed out once. What the generator itself raises is not tried again, as in the driver's own process.
"""

from __future__ import annotations

import time
from collections import Counter, deque
from dataclasses import dataclass
from enum import Enum
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from protocols.engines import ray_cluster
from protocols.engines.engine import Engine
from protocols.engines.ray_worker import Loaded, Place, RayWorker
from specref_core.errors import GeneratorError, InputError, SpecRefError

if TYPE_CHECKING:
    from collections.abc import Callable

    from typing_extensions import Self

    from protocols.engines.engine import Work
    from protocols.engines.ray_cluster import Cluster
    from specref_core.generator import Completion

# A batch that loses so many workers is no victim of chance; nor is a generator that cannot be loaded so often in a row.
_LOSSES = 5
_PATIENCE_SECONDS = 120.0
_TICK_SECONDS = 1.0


class _State(Enum):
    """What a worker is doing."""

    PLACING = "placing"
    LOADING = "loading"
    IDLE = "idle"
    BUSY = "busy"


@dataclass(slots=True)
class _Worker:
    """One actor."""

    actor: Any
    state: _State
    call: Any = None
    work: Work | None = None
    place: Place | None = None


class RayEngine(Engine):
    """Workers on a Ray cluster; a context manager that starts them and leaves none behind.

    Args:
        target: the generator, ``pkg.mod:factory`` or ``path/to/file.py:factory``; every node must be able to load it.
        address: the cluster (``ray_cluster.connect``); ``None`` starts one on this machine.
        workers: generators at once; by default as many as the cluster has room for.
        gpus_per_worker: GPUs that each generator sees, a fraction to share one; by default one where the cluster has
            any.
        patience: seconds without any living worker after which the engine gives up.
        notice: called with a line on every event that a person may want to know: a worker lost, say.

    Raises:
        InputError: an argument cannot be used, or no cluster is at the address (on entering).
        GeneratorError: the factory raised (on entering).
    """

    def __init__(
        self,
        target: str,
        *,
        address: str | None = None,
        workers: int | None = None,
        gpus_per_worker: float | None = None,
        patience: float = _PATIENCE_SECONDS,
        notice: Callable[[str], None] | None = None,
    ) -> None:
        if workers is not None and workers < 1:
            raise InputError(f"workers={workers!r}: expected at least one")
        if gpus_per_worker is not None and not _is_gpu_share(gpus_per_worker):
            raise InputError(
                f"gpus_per_worker={gpus_per_worker!r}: expected 0, a fraction of one GPU or a whole number"
            )
        self._target = target
        self._address = address
        self._wanted = workers
        self._gpus = gpus_per_worker
        self._patience = patience
        self._notice = notice or (lambda _line: None)
        self._folder = str(Path.cwd())
        self._ray: Any = None
        self._cluster: Cluster | None = None
        self._workers: list[_Worker] = []
        self._loaded: Loaded | None = None
        self._queue: deque[Work] = deque()
        self._answers: deque[tuple[Work, list[Completion] | SpecRefError]] = deque()
        self._losses: Counter[int] = Counter()
        self._failed_starts = 0
        self._alone_since: float | None = None

    def __enter__(self) -> Self:
        """Connect, start the workers, and wait for the first of them.

        Raises:
            SpecRefError: no worker could be started.
        """
        try:
            self._ray = ray_cluster.import_ray()
            self._cluster = ray_cluster.connect(self._address, cpus=self._wanted)
            for _ in range(self._size()):
                self._add_worker()
            while self._loaded is None:
                self._advance(_TICK_SECONDS)
        except BaseException:
            self.close()
            raise
        return self

    @property
    def name(self) -> str:
        """The generator's name, as the workers say."""
        return self._told.name

    @property
    def fingerprint(self) -> str:
        """What the generator runs with; the same on every worker."""
        return self._told.fingerprint

    @property
    def width(self) -> int:
        """The workers that were asked for, or as many as there is room for."""
        return len(self._workers)

    @property
    def capacity(self) -> int:
        """Idle workers for which no batch waits."""
        return max(0, sum(worker.state is _State.IDLE for worker in self._workers) - len(self._queue))

    @property
    def places(self) -> list[Place]:
        """Where the living workers are."""
        return [worker.place for worker in self._workers if worker.place is not None]

    def submit(self, work: Work) -> None:
        """Send a batch to an idle worker, or keep it for the next one."""
        self._queue.append(work)
        self._dispatch()

    def collect(self, *, timeout: float) -> tuple[Work, list[Completion]] | None:
        """Return an answered batch.

        Raises:
            GeneratorError: the generator raised, or ended its process time after time.
            SpecRefError: no worker is left, or workers disagree on what they run.
        """
        end = time.monotonic() + timeout
        while not self._answers:
            left = end - time.monotonic()
            if left <= 0:
                return None
            self._advance(min(left, _TICK_SECONDS))
        work, answer = self._answers.popleft()
        if isinstance(answer, GeneratorError):
            raise work.blame(answer) from answer
        if isinstance(answer, SpecRefError):
            raise answer
        return work, answer

    def forget(self) -> None:
        """Drop what waits; a worker that is at a batch finishes it for nobody."""
        self._queue.clear()
        self._answers.clear()
        self._losses.clear()
        for worker in self._workers:
            worker.work = None

    def close(self) -> None:
        """End every worker, and the cluster where it was started here."""
        self.forget()
        workers, self._workers = self._workers, []
        self._loaded = None
        if self._ray is None or not self._ray.is_initialized():
            return
        for worker in workers:
            self._ray.kill(worker.actor, no_restart=True)
        if self._cluster is not None and self._cluster.own:
            self._ray.shutdown()
        self._cluster = None

    @property
    def _told(self) -> Loaded:
        if self._loaded is None:
            raise InputError("this engine is not open; use it as a context manager: with RayEngine(…) as engine")
        return self._loaded

    def _size(self) -> int:
        """Decide how many workers to start.

        Raises:
            InputError: there is room for none, and a cluster started here does not grow.
        """
        nodes = self._ray.nodes()
        if self._gpus is None:
            self._gpus = float(any(node.get("Resources", {}).get("GPU", 0) >= 1 for node in nodes))
        fits = ray_cluster.room(nodes, gpus=self._gpus)
        wanted = self._wanted or fits
        assert self._cluster is not None
        if not fits or (wanted > fits and self._cluster.local):
            raise InputError(
                f"no room for {wanted or 1} worker{'' if wanted == 1 else 's'} of 1 CPU and {self._gpus:g} GPUs: "
                f"{self._cluster.address} has {ray_cluster.resources(nodes)}, which is room for {fits}; ask for fewer "
                "--workers or --gpus-per-worker, or add nodes"
            )
        if wanted > fits:
            self._notice(f"room for {fits} of {wanted} workers now; the others start when nodes join")
        return wanted

    def _add_worker(self) -> None:
        actor = (
            self._ray.remote(RayWorker)
            .options(num_cpus=1, num_gpus=self._gpus, max_restarts=0, max_task_retries=0)
            .remote(self._target, self._folder)
        )
        self._workers.append(_Worker(actor, _State.PLACING, actor.place.remote()))

    def _dispatch(self) -> None:
        """Give waiting batches to idle workers."""
        for worker in self._workers:
            if not self._queue:
                return
            if worker.state is _State.IDLE:
                worker.work = self._queue.popleft()
                worker.state = _State.BUSY
                worker.call = worker.actor.answer.remote(worker.work)

    def _advance(self, timeout: float) -> None:
        """Wait for the next event of any worker and act on all that happened."""
        calls = {worker.call: worker for worker in self._workers if worker.call is not None}
        if not calls:  # all idle, and nothing to do
            time.sleep(timeout)
            self._dispatch()
            return
        ready, _ = self._ray.wait(list(calls), num_returns=1, timeout=timeout)
        if ready:
            # num_returns is also a limit: ask for all that are ready by now.
            ready, _ = self._ray.wait(list(calls), num_returns=len(calls), timeout=0)
        for call in ready:
            self._take(calls[call])
        self._dispatch()
        self._watch()

    def _take(self, worker: _Worker) -> None:
        """Act on a call that returned, or on the loss of its worker."""
        call, worker.call = worker.call, None
        try:
            told = self._ray.get(call)
        except self._ray.exceptions.RayTaskError as error:
            told = _foreign(error)
        except self._ray.exceptions.RayError as error:
            self._lose(worker, error)
            return
        if worker.state is _State.PLACING and isinstance(told, Place):
            worker.place = told
            worker.state = _State.LOADING
            worker.call = worker.actor.load.remote()
        elif worker.state is _State.LOADING and isinstance(told, Loaded):
            self._agree(told, worker)
            self._failed_starts = 0
            worker.state = _State.IDLE
        elif worker.state is _State.BUSY:
            worker.state = _State.IDLE
            work, worker.work = worker.work, None
            if work is not None:
                self._losses.pop(work.number, None)
                self._answers.append((work, told))
        elif isinstance(told, SpecRefError):  # while it was placed or loaded
            raise _on(worker, told)

    def _agree(self, told: Loaded, worker: _Worker) -> None:
        """Hold every worker to what the first one said, and the first one to this process's version.

        Raises:
            SpecRefError: the nodes hold different versions.
            GeneratorError: the generator is not the same everywhere.
        """
        if told.version != version("specref"):
            raise SpecRefError(
                f"{worker.place} has SpecRef {told.version}, this process {version('specref')}; install the same "
                "version on every node"
            )
        self._loaded = self._loaded or told
        if told != self._loaded:
            raise GeneratorError(
                f"generator {self._loaded.name!r} is {self._loaded.name}@{self._loaded.fingerprint} on one worker and "
                f"{told.name}@{told.fingerprint} on another ({worker.place}): nodes hold different weights or code, or "
                "its fingerprint is not the same in two processes; give it a fingerprint() method that is"
            )

    def _lose(self, worker: _Worker, error: Exception) -> None:
        """Put a lost worker's batch first in the queue and start another worker.

        Raises:
            GeneratorError: too many workers were lost at one batch, or while they loaded.
        """
        self._workers.remove(worker)
        self._ray.kill(worker.actor, no_restart=True)  # a node that was only out of reach may still run it
        self._add_worker()
        where = worker.place or "one that had not started"
        why = _first_line(error)
        work = worker.work
        if worker.state in (_State.PLACING, _State.LOADING):
            self._failed_starts += 1
            if self._failed_starts >= _LOSSES:
                raise GeneratorError(
                    f"{self._failed_starts} workers in a row ended while they loaded {self._target} (last: {where}: "
                    f"{why}); it ends its process, or the node has too little memory for it"
                )
        if work is not None:
            self._losses[work.number] += 1
            if self._losses[work.number] >= _LOSSES:
                raise work.blame(
                    GeneratorError(
                        f"generator {self.name!r} lost its worker {_LOSSES} times at one batch (last: {where}: {why}); "
                        "it ends its process, or a batch is too large for the memory: try a smaller --batch-size"
                    )
                )
            self._queue.appendleft(work)
        lost = f"; its batch of {len(work.problems)} is made again" if work is not None else ""
        self._notice(f"lost a worker ({where}: {why}){lost}")

    def _watch(self) -> None:
        """Give up when nothing has lived for too long.

        Raises:
            SpecRefError: no worker was placed for ``patience`` seconds.
        """
        if any(worker.place is not None for worker in self._workers):
            self._alone_since = None
            return
        now = time.monotonic()
        self._alone_since = self._alone_since or now
        if now - self._alone_since > self._patience:
            nodes = self._ray.nodes()
            free = self._ray.available_resources()
            raise SpecRefError(
                f"no worker of 1 CPU and {self._gpus:g} GPUs could be placed for {self._patience:g} s: the cluster has "
                f"{ray_cluster.resources(nodes)}, of which {free.get('CPU', 0):g} CPUs and {free.get('GPU', 0):g} GPUs "
                "are free; wait for its other users, add nodes, or ask for fewer GPUs a worker"
            )


def _is_gpu_share(gpus: float) -> bool:
    """Whether Ray can give a worker so many GPUs."""
    return 0 <= gpus <= 1 or (gpus > 1 and gpus == int(gpus) if gpus < float("inf") else False)


def _foreign(error: Any) -> GeneratorError:
    """Return what a worker did not foresee: an answer that cannot be sent, or a call that was cancelled from within."""
    cause = getattr(error, "cause", None) or error
    return GeneratorError(
        f"the generator's worker failed with {type(cause).__name__}: {_first_line(cause)}; what a generator returns "
        "must be plain data that can be sent between processes"
    )


def _on(worker: _Worker, error: SpecRefError) -> SpecRefError:
    """Return the same kind of error with the place where it happened."""
    return type(error)(f"{error} (in {worker.place})") if worker.place else error


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__
