"""Ending whatever a candidate started, and removing whatever it wrote."""

from __future__ import annotations

import contextlib
import os
import signal
import stat
import time

_PATIENCE = 2.0
"""Seconds to go on killing children that keep appearing, where there is no PID namespace to end them at one stroke."""


def end_children(child: int, *, whole_namespace: bool) -> int:
    """Kill and collect every child of this process; return the wait status of ``child``.

    With ``whole_namespace`` all of them have been sent SIGKILL already and are only collected. Otherwise this process
    must have adopted orphans (``kernel.adopt_orphans``): killing a parent makes its children ours, so this repeats.
    """
    status = 0
    until = time.monotonic() + _PATIENCE
    while True:
        if not whole_namespace:
            for found in _children():
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(found, signal.SIGKILL)
        try:
            collected, result = os.waitpid(-1, 0 if whole_namespace else os.WNOHANG)
        except ChildProcessError:
            return status
        if collected == child:
            status = result
        if not collected:
            if time.monotonic() > until:
                return status
            time.sleep(0.001)


def _children() -> list[int]:
    me = os.getpid()
    try:
        with open(f"/proc/self/task/{me}/children", encoding="ascii") as file:
            return [int(word) for word in file.read().split()]
    except OSError:
        return [pid for pid in map(int, filter(str.isdigit, os.listdir("/proc"))) if _parent(pid) == me]


def _parent(pid: int) -> int:
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            return int(file.read().rpartition(")")[2].split()[1])
    except (OSError, ValueError, IndexError):
        return 0


def empty_folder(folder: str) -> None:
    """Remove everything in ``folder`` without following links; depth does not matter, as deep folders are moved up."""
    spare = 0
    while True:
        names = os.listdir(folder)
        if not names:
            return
        for name in names:
            path = os.path.join(folder, name)
            if not stat.S_ISDIR(os.lstat(path).st_mode):
                os.unlink(path)
                continue
            os.chmod(path, 0o700)
            for inner in os.listdir(path):
                nested = os.path.join(path, inner)
                if stat.S_ISDIR(os.lstat(nested).st_mode):
                    spare += 1
                    os.chmod(nested, 0o700)
                    os.rename(nested, os.path.join(folder, f".moved-{os.getpid()}-{spare}"))
                else:
                    os.unlink(nested)
            os.rmdir(path)
