"""The few Linux system calls that the standard library lacks, through ctypes. Every failure is an OSError.

Numbers and flags are those of the kernel's headers (sched.h, mount.h, prctl.h, capability.h, landlock.h).
"""

from __future__ import annotations

import ctypes
import os

CLONE_NEWNS = 0x00020000
CLONE_NEWCGROUP = 0x02000000
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000

MS_RDONLY = 0x1
MS_NOSUID = 0x2
MS_NODEV = 0x4
MS_NOEXEC = 0x8
MS_REMOUNT = 0x20
MS_BIND = 0x1000
MS_REC = 0x4000
MS_PRIVATE = 0x40000
MNT_DETACH = 2

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_PR_SET_NO_NEW_PRIVS = 38
_M_ARENA_MAX = -8
_AT_FDCWD = -100
_AT_RECURSIVE = 0x8000
_MOUNT_ATTR_RDONLY = 0x1
_MOUNT_ATTR_NOSUID = 0x2
_MOUNT_ATTR_NODEV = 0x4

_MACHINE = os.uname().machine
# System calls without a libc wrapper; those from 424 on have one number on every architecture.
_SYS_PIVOT_ROOT = {"x86_64": 155, "aarch64": 41, "riscv64": 41}.get(_MACHINE)
_SYS_CAPSET = {"x86_64": 126, "aarch64": 91, "riscv64": 91}.get(_MACHINE)
_SYS_MOUNT_SETATTR = 442
SYS_LANDLOCK_CREATE_RULESET = 444
SYS_LANDLOCK_ADD_RULE = 445
SYS_LANDLOCK_RESTRICT_SELF = 446

# PyDLL keeps the interpreter's lock: these calls are short, and some are made between a fork and its first line.
_LIBC = ctypes.PyDLL(None, use_errno=True)


def _check(result: int, what: str) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
    return result


def syscall(number: int | None, *arguments: object) -> int:
    """Make a raw system call.

    Raises:
        OSError: it failed, or this architecture's number for it is not known here.
    """
    if number is None:
        raise OSError(38, f"no system call number known on {_MACHINE}")
    longs = [ctypes.c_long(a) if isinstance(a, int) else a for a in arguments]
    result: int = _LIBC.syscall(ctypes.c_long(number), *longs)
    return result if result >= 0 else _check(result, f"system call {number}")


def unshare(flags: int) -> None:
    """Move this process (for PID: its future children) into new namespaces."""
    _check(_LIBC.unshare(ctypes.c_int(flags)), "unshare")


def attach(source: str | None, target: str, kind: str | None = None, flags: int = 0, data: str | None = None) -> None:
    """Attach a file system, or with ``MS_BIND`` a folder, to the tree; see mount(2)."""
    encoded = [None if part is None else os.fsencode(part) for part in (source, target, kind, data)]
    result = _LIBC.mount(encoded[0], encoded[1], encoded[2], ctypes.c_ulong(flags), encoded[3])
    _check(result, f"mount on {target}")


def unmount(target: str) -> None:
    """Detach the mount on ``target`` now; it goes when its last user goes."""
    _check(_LIBC.umount2(os.fsencode(target), ctypes.c_int(MNT_DETACH)), f"unmount {target}")


def pivot_root(new_root: str, put_old: str) -> None:
    """Make ``new_root`` the root directory of this mount namespace."""
    syscall(_SYS_PIVOT_ROOT, os.fsencode(new_root), os.fsencode(put_old))


class _MountAttributes(ctypes.Structure):
    _fields_ = (
        ("set", ctypes.c_uint64),
        ("clear", ctypes.c_uint64),
        ("propagation", ctypes.c_uint64),
        ("userns", ctypes.c_uint64),
    )


def make_read_only(target: str) -> None:
    """Make the mount on ``target``, and every mount under it, read-only, without set-user-ID programs and devices."""
    attributes = _MountAttributes(_MOUNT_ATTR_RDONLY | _MOUNT_ATTR_NOSUID | _MOUNT_ATTR_NODEV, 0, 0, 0)
    syscall(
        _SYS_MOUNT_SETATTR,
        _AT_FDCWD,
        os.fsencode(target),
        _AT_RECURSIVE,
        ctypes.byref(attributes),
        ctypes.sizeof(attributes),
    )


class _CapabilityHeader(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


# Made once: to make a ctypes type costs a fresh fork a great many pages.
_CAPABILITY_HEADER = _CapabilityHeader(0x20080522, 0)
_NO_CAPABILITIES = (ctypes.c_uint32 * 6)()


def drop_capabilities() -> None:
    """Give up every capability, for good."""
    syscall(_SYS_CAPSET, ctypes.byref(_CAPABILITY_HEADER), ctypes.byref(_NO_CAPABILITIES))


def _prctl(option: int, argument: int) -> None:
    zero = ctypes.c_ulong(0)
    _check(_LIBC.prctl(ctypes.c_int(option), ctypes.c_ulong(argument), zero, zero, zero), f"prctl {option}")


def no_new_privileges() -> None:
    """Make sure that no program started from here gains privileges."""
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)


def die_with_parent(signal: int) -> None:
    """Ask for ``signal`` when the thread that started this process ends."""
    _prctl(_PR_SET_PDEATHSIG, signal)


def adopt_orphans() -> None:
    """Become the parent of every descendant whose own parent dies."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def limit_arenas(count: int) -> None:
    """Let threads share ``count`` heaps: each would reserve 64 MiB of the address space that a candidate is given."""
    mallopt = getattr(_LIBC, "mallopt", None)  # absent from musl
    if mallopt is not None:
        mallopt(ctypes.c_int(_M_ARENA_MAX), ctypes.c_int(count))
