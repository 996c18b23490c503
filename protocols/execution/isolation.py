"""The isolation levels of Protocol A, weakest first, and what each of them promises.

``process``     a process of its own: own session, empty environment, no inherited descriptors, an own directory.
``limits``      and limits on memory, CPU time, file size, descriptors and processes, and no way to gain privileges.
``landlock``    and Landlock: no writing outside its directory, no reading outside the interpreter, no TCP, no
                signal to anything outside.
``namespaces``  limits, and own user, PID, mount, network, IPC and host-name namespaces: the machine's files,
                processes and network cannot be seen at all. Everything it started dies with it.
``full``        namespaces and Landlock together.
"""

from __future__ import annotations

PROCESS = "process"
LIMITS = "limits"
LANDLOCK = "landlock"
NAMESPACES = "namespaces"
FULL = "full"

FAILED_TO_START = 113
"""Exit code of a candidate process that could not be confined; no program has run in it."""

LEVELS = (PROCESS, LIMITS, LANDLOCK, NAMESPACES, FULL)


def level_of(*, limits: bool, landlock: bool, namespaces: bool) -> str:
    """Return the strongest level whose every promise is kept by what could be set up."""
    if not limits:
        return PROCESS
    if namespaces:
        return FULL if landlock else NAMESPACES
    return LANDLOCK if landlock else LIMITS


def at_least(level: str, required: str) -> bool:
    """Return whether ``level`` keeps everything ``required`` promises; both are members of :data:`LEVELS`."""
    if required == LANDLOCK and level == NAMESPACES:
        return False  # namespaces alone lack Landlock's rules, although they hide more
    return LEVELS.index(level) >= LEVELS.index(required)
