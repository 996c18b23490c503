"""The warm process that forks candidates, one at a time, inside the room built for it.

Forked by ``worker.py``. It loads what programs commonly import, isolates itself as far as the machine allows, reports
the level reached, and then serves:

* ``fork`` with a socket attached: start a candidate that speaks on that socket.
* ``end``: kill everything that candidate left, clean its folder, report how it ended.

An ``exited`` report comes unasked when the candidate dies before ``end``. Closing the control socket ends the zygote.
"""

from __future__ import annotations

import contextlib
import errno
import gc
import json
import os
import resource
import select
import signal
import socket
import struct
import sys
import time
from typing import Any

from protocols.execution import candidate, kernel, landlock, namespaces
from protocols.execution.isolation import FAILED_TO_START, level_of
from protocols.execution.leftovers import empty_folder, end_children

# Loaded before the fork, so that importing them costs a candidate nothing. Only what most programs use: each further
# library makes every fork dearer, and ``random`` seeds itself again in each.
_COMMON = ("collections", "collections.abc", "functools", "itertools", "json", "math", "operator", "re", "typing")
_DESCRIPTORS = 256
_HIGH = 200  # descriptors above all that a zygote opens
_INT = struct.Struct("i")
_ANCILLARY = socket.CMSG_SPACE(_INT.size)
_PROCESSORS = os.cpu_count() or 1
_REHEARSALS = 12
_FILE_SIZE = 64 << 20
_STACK = 120 << 20  # below the 128 MiB that the kernel always keeps free under a main thread's stack
_WORK_SIZE = 256 << 20


class Zygote:
    """Forks candidates under limits and ends them without remainder."""

    def __init__(self, control: socket.socket, *, memory: int, processes: int, ceiling: str, folder: str) -> None:
        self._control = control
        self._poll = select.poll()
        self._poll.register(control, select.POLLIN)
        self._memory = memory
        self._processes = processes
        self._work = folder
        wish_namespaces = ceiling in ("namespaces", "full")
        wish_landlock = ceiling in ("landlock", "full")
        self._sources = namespaces.interpreter_sources()
        self._inside = False
        self._own_ipc = False
        if wish_namespaces and namespaces.enter():
            self._own_ipc = not namespaces.forbid_shared_objects()
            namespaces.build_root(sources=self._sources, size=_WORK_SIZE)
            self._inside = True
            self._work = namespaces.WORK
        else:
            kernel.adopt_orphans()
        self._nobody = os.geteuid() == 0 and (self._inside or all(map(_open_to_all, self._sources)))
        if not self._inside:
            # The kernel counts all tasks of a user together; inside a user namespace only those in there.
            self._processes += 0 if self._nobody else _tasks_of(os.geteuid())
            if self._nobody:
                os.chown(self._work, namespaces.NOBODY, namespaces.NOBODY)
        self._limits = ceiling != "process"
        self._landlock = wish_landlock and landlock.version() > 0
        self.level = level_of(limits=self._limits, landlock=self._landlock, namespaces=self._inside)
        with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w", encoding="ascii") as score:
            score.write("1000")  # should the machine run out of memory, a candidate goes first
        kernel.limit_arenas(2)
        self._rules = -1
        if self._limits:
            self._limit()

    def rehearse(self) -> None:
        """Run here what every candidate will run, and put what lives here out of the garbage collector's reach.

        A fork shares memory until it writes to it, and each first write to a page is paid for. Code that has run often
        enough is no longer rewritten by the interpreter's specialization, and frozen objects are not touched by the
        collector: that saves a third of the pages.
        """
        for _ in range(_REHEARSALS):
            candidate.rehearse()
            landlock.version()
        self._make_rules()
        gc.collect()
        gc.freeze()

    def serve(self) -> None:
        """Answer the control socket until it closes."""
        child = 0
        while True:
            message, descriptor = self._next(child)
            if message is None:
                return
            if message["do"] == "fork":
                child = self._fork(message, descriptor)
                os.close(descriptor)
            elif message["do"] == "end":
                self._tell(self._end(child, message["grace"]))
                child = 0

    def _next(self, child: int) -> tuple[dict[str, Any] | None, int]:
        """Wait for a message; report the candidate's death meanwhile."""
        if child:
            watch = os.pidfd_open(child)
            self._poll.register(watch, select.POLLIN)
            ready = [descriptor for descriptor, _ in self._poll.poll()]
            if watch in ready and self._control.fileno() not in ready:
                # Looked at, not collected: its number must stay taken until everything else is dead.
                self._tell({"exited": True})
            self._poll.unregister(watch)
            os.close(watch)
        data, ancillary, _, _ = self._control.recvmsg(65536, _ANCILLARY)
        descriptor = _INT.unpack(ancillary[0][2][: _INT.size])[0] if ancillary else -1
        return (json.loads(data), descriptor) if data else (None, -1)

    def _tell(self, message: dict[str, object]) -> None:
        with contextlib.suppress(OSError):
            self._control.send(json.dumps(message).encode())

    def _fork(self, message: dict[str, Any], descriptor: int) -> int:
        child = os.fork()
        if child:
            return child
        try:
            channel = self._confine(descriptor, message["timeout"])
            candidate.live(channel, message["timeout"], self._memory)
        except BaseException as error:
            print(f"candidate did not start: {error!r}", file=sys.__stderr__)
        finally:
            os._exit(FAILED_TO_START)

    def _confine(self, descriptor: int, timeout: float) -> socket.socket:
        os.setsid()
        os.dup2(descriptor, _HIGH)  # first out of the way of each other
        if self._rules >= 0:
            os.dup2(self._rules, _HIGH + 1)
            os.dup2(_HIGH + 1, 4)
        os.dup2(_HIGH, 3)
        os.closerange(5 if self._rules >= 0 else 4, _DESCRIPTORS)
        if not self._inside:
            kernel.die_with_parent(signal.SIGKILL)
        elif self._own_ipc:
            kernel.unshare(kernel.CLONE_NEWIPC)
        os.chdir(self._work)
        if self._nobody:
            os.setgroups([])
            os.setresgid(namespaces.NOBODY, namespaces.NOBODY, namespaces.NOBODY)
            os.setresuid(namespaces.NOBODY, namespaces.NOBODY, namespaces.NOBODY)
        if self._limits:
            seconds = int(timeout * _PROCESSORS) + 2  # all threads together; the judge's clock is the rule
            resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
            kernel.drop_capabilities()
        if self._rules >= 0:
            landlock.restrict(4)
            os.close(4)
        return socket.socket(fileno=3)

    def _make_rules(self) -> None:
        """Prepare Landlock's rules; they hold the folders themselves, so that new ones need new rules."""
        if not self._landlock:
            return
        if self._rules >= 0:
            os.close(self._rules)
        readable = ["/"] if self._inside else [*self._sources, *namespaces.SYSTEM, *namespaces.DEVICES]
        writable = [self._work, "/dev/null", *([namespaces.SHARED_MEMORY] if self._inside else [])]
        self._rules = landlock.ruleset(readable=readable, writable=writable)

    def _limit(self) -> None:
        """Set here, once, what every candidate inherits."""
        kernel.no_new_privileges()
        for which, value in (
            (resource.RLIMIT_AS, self._memory),
            (resource.RLIMIT_STACK, _STACK),
            (resource.RLIMIT_FSIZE, _FILE_SIZE),
            (resource.RLIMIT_NOFILE, _DESCRIPTORS),
            (resource.RLIMIT_NPROC, self._processes),
            (resource.RLIMIT_CORE, 0),
        ):
            hard = resource.getrlimit(which)[1]
            ceiling = value if hard == resource.RLIM_INFINITY else min(value, hard)
            resource.setrlimit(which, (ceiling, ceiling))

    def _end(self, child: int, grace: float) -> dict[str, object]:
        """Kill the candidate and all it started, then clean up; say how the candidate itself ended."""
        natural = self._wait(child, grace)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(child, signal.SIGKILL)
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)
        if self._inside:
            with contextlib.suppress(ProcessLookupError):
                os.kill(-1, signal.SIGKILL)  # everybody in this PID namespace but its process 1
        status = end_children(child, whole_namespace=self._inside)
        if self._inside:
            if os.listdir(namespaces.WORK) or os.listdir(namespaces.SHARED_MEMORY):
                namespaces.fresh_work(_WORK_SIZE)
                self._make_rules()
        else:
            empty_folder(self._work)
        return {"ended": status, "natural": natural}

    @staticmethod
    def _wait(child: int, grace: float) -> bool:
        """Return whether the candidate died by itself within ``grace`` seconds; it is not collected yet."""
        until = time.monotonic() + grace
        while True:
            found = os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            if found is not None:
                return True
            if time.monotonic() >= until:
                return False
            time.sleep(0.001)


def _open_to_all(folder: str) -> bool:
    """Return whether any user may look into ``folder``."""
    path = os.path.realpath(folder)
    while True:
        if not os.stat(path).st_mode & 0o001:
            return False
        if path == "/":
            return True
        path = os.path.dirname(path)


def _tasks_of(user: int) -> int:
    """Return how many processes and threads ``user`` has now."""
    count = 0
    for entry in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            if os.stat(f"/proc/{entry}").st_uid == user:
                count += len(os.listdir(f"/proc/{entry}/task"))
    return count


def serve(control: socket.socket, settings: dict[str, Any]) -> None:
    """Isolate this process, report the level on the control socket, and serve it until it closes.

    Args:
        control: the referee's; closing it ends the zygote.
        settings: arguments of :class:`Zygote`.
    """
    control.set_inheritable(False)
    for name in _COMMON:
        __import__(name)
    signal.signal(signal.SIGALRM, signal.SIG_IGN)  # rehearsals set timers; a candidate puts its own handler there
    try:
        zygote = Zygote(control, **settings)
    except OSError as error:
        control.send(
            json.dumps({"level": None, "why": str(error), "errno": errno.errorcode.get(error.errno or 0)}).encode()
        )
        return
    zygote.rehearse()
    control.send(json.dumps({"level": zygote.level}).encode())
    zygote.serve()
