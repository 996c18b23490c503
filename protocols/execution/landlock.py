"""Landlock: rules a process puts on itself and its descendants (kernel documentation: userspace-api/landlock)."""

from __future__ import annotations

import ctypes
import os
import stat
from collections.abc import Iterable

from protocols.execution import kernel

_EXECUTE = 1 << 0
_WRITE_FILE = 1 << 1
_READ_FILE = 1 << 2
_READ_DIR = 1 << 3
_TRUNCATE = 1 << 14
_IOCTL_DEV = 1 << 15
# Bits of the file-system rights known to each version of the interface, by how many of them there are.
_FS_RIGHTS = {1: 13, 2: 14, 3: 15, 4: 15, 5: 16}
_READING = _EXECUTE | _READ_FILE | _READ_DIR
_OF_FILES = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE | _IOCTL_DEV
_NET_TCP = 0b11  # bind and connect, from version 4
_SCOPE_ALL = 0b11  # abstract sockets and signals, from version 6
_RULE_PATH_BENEATH = 1
_CREATE_VERSION = 1


class _Ruleset(ctypes.Structure):
    _fields_ = (("fs", ctypes.c_uint64), ("net", ctypes.c_uint64), ("scoped", ctypes.c_uint64))


class _PathBeneath(ctypes.Structure):
    _pack_ = 1
    _layout_ = "ms"
    _fields_ = (("allowed", ctypes.c_uint64), ("parent", ctypes.c_int32))


def version() -> int:
    """Return the interface's version, 0 where the kernel has no Landlock or has it switched off."""
    try:
        return kernel.syscall(kernel.SYS_LANDLOCK_CREATE_RULESET, None, 0, _CREATE_VERSION)
    except OSError:
        return 0


def ruleset(*, readable: Iterable[str], writable: Iterable[str]) -> int:
    """Return the descriptor of a rule set: read and run beneath ``readable``, nearly everything beneath ``writable``.

    Paths that do not exist are left out. Network and signals to the outside are closed where the version can.

    Raises:
        OSError: the kernel has no Landlock.
    """
    known = version()
    if not known:
        raise OSError(95, "no Landlock")
    rights = (1 << _FS_RIGHTS.get(known, 16)) - 1
    attributes = _Ruleset(rights, _NET_TCP if known >= 4 else 0, _SCOPE_ALL if known >= 6 else 0)
    size = 8 if known < 4 else 16 if known < 6 else 24
    rules = kernel.syscall(kernel.SYS_LANDLOCK_CREATE_RULESET, ctypes.byref(attributes), size, 0)
    try:
        for path in readable:
            _allow(rules, path, _READING & rights)
        for path in writable:
            _allow(rules, path, rights & ~_IOCTL_DEV)
    except BaseException:
        os.close(rules)
        raise
    return rules


def _allow(rules: int, path: str, rights: int) -> None:
    try:
        beneath = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return
    try:
        if not stat.S_ISDIR(os.fstat(beneath).st_mode):
            rights &= _OF_FILES
        rule = _PathBeneath(rights, beneath)
        kernel.syscall(kernel.SYS_LANDLOCK_ADD_RULE, rules, _RULE_PATH_BENEATH, ctypes.byref(rule), 0)
    finally:
        os.close(beneath)


def restrict(rules: int) -> None:
    """Put the rule set on this process for good; it must have no_new_privileges set.

    Raises:
        OSError: the kernel refused.
    """
    kernel.syscall(kernel.SYS_LANDLOCK_RESTRICT_SELF, rules, 0)
