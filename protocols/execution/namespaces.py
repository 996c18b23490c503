"""A room of its own for the zygote: new namespaces, and a root directory that holds an interpreter and little else."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Iterable

from protocols.execution import kernel

NOBODY = 65534
"""The user and group that a candidate runs as where the judge itself runs as root (the kernel's overflow user)."""

WORK = "/tmp"  # noqa: S108 - a file system of its own inside the namespace, not the machine's /tmp
SHARED_MEMORY = "/dev/shm"  # noqa: S108 - same

_ALL = (
    kernel.CLONE_NEWUSER
    | kernel.CLONE_NEWPID
    | kernel.CLONE_NEWNS
    | kernel.CLONE_NEWNET
    | kernel.CLONE_NEWIPC
    | kernel.CLONE_NEWUTS
)
SYSTEM = ("/usr", "/lib", "/lib64", "/lib32", "/bin", "/sbin", "/etc/ld.so.cache", "/etc/localtime")
DEVICES = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom")
# Where the new root is put together; only the first that exists and holds none of the sources is used.
_BUILDING_SITES = ("/tmp", "/mnt", "/media", "/srv", "/opt", "/var")  # noqa: S108 - mount points, nothing is written
_ACCOUNTS = {
    "/etc/passwd": f"nobody:x:{NOBODY}:{NOBODY}:nobody:{WORK}:/bin/sh\n",
    "/etc/group": f"nogroup:x:{NOBODY}:\n",
}


def enter() -> bool:
    """Move this process into new user, PID, mount, network, IPC and host-name namespaces.

    Returns in the *child* that is process 1 of the new PID namespace; the calling process waits there for it and ends
    with it. Returns False, having changed nothing, where the kernel does not allow it.
    """
    ready_read, ready_write = os.pipe()
    done_read, done_write = os.pipe()
    outer, group = os.geteuid(), os.getegid()
    target = os.getpid()
    scribe = os.fork()  # stays in the outer user namespace: only from there can two identities be mapped
    if not scribe:
        code = 1
        with contextlib.suppress(BaseException):
            os.close(ready_write)
            if os.read(ready_read, 1) == b"+":
                _map_identities(target, outer, group)
                code = 0
            os.write(done_write, b"+" if code == 0 else b"-")
        os._exit(code)
    try:
        try:
            kernel.unshare(_ALL)
        except OSError:
            return False
        os.write(ready_write, b"+")
        mapped = os.read(done_read, 1) == b"+"
    finally:
        for descriptor in (ready_read, ready_write, done_read, done_write):
            os.close(descriptor)
        os.waitpid(scribe, 0)
    if not mapped:
        raise OSError(1, "the user namespace could not be given its identities")
    first = os.fork()
    if first:
        _wait_out(first)
    kernel.die_with_parent(signal.SIGKILL)
    return True


def _wait_out(first: int) -> None:
    """Hold nothing open, wait for process 1 of the namespace, and end as it ended."""
    os.closerange(0, 256)
    _, status = os.waitpid(first, 0)
    os._exit(os.waitstatus_to_exitcode(status) & 0x7F)


def _map_identities(target: int, user: int, group: int) -> None:
    """Map root and nobody where we may; else the one identity that everybody may map: their own, as nobody."""
    both = [f"0 {user} 1\n{NOBODY} {NOBODY} 1\n", f"0 {group} 1\n{NOBODY} {NOBODY} 1\n"]
    own = [f"{NOBODY} {user} 1\n", f"{NOBODY} {group} 1\n"]
    for users, groups in [both, own] if user == 0 else [own]:
        try:
            _write(f"/proc/{target}/uid_map", users)
        except OSError:
            continue
        if users is not both[0]:
            with contextlib.suppress(OSError):
                _write(f"/proc/{target}/setgroups", "deny")
        _write(f"/proc/{target}/gid_map", groups)
        return
    raise OSError(1, "no identity map was accepted")


def forbid_shared_objects() -> bool:
    """Allow no System V objects and message queues in this IPC namespace, as they outlive the process that made them.

    Returns False where the kernel does not let a user namespace's root set this; each candidate then needs an IPC
    namespace of its own, which costs more.
    """
    try:
        for name in ("kernel/shmmni", "kernel/msgmni", "fs/mqueue/queues_max"):
            _write(f"/proc/sys/{name}", "0")
        _write("/proc/sys/kernel/sem", "0 0 0 0")
    except OSError:
        return False
    return True


def build_root(*, sources: Iterable[str], size: int) -> None:
    """Replace the root directory by one that holds the interpreter, the system's libraries and own writable folders.

    Args:
        sources: what to show besides the system's libraries: the interpreter's own folders.
        size: bytes that the writable folder may hold.

    Raises:
        OSError: some mount was refused; the process must not run a candidate then.
    """
    with contextlib.suppress(OSError):
        _write("/proc/sys/user/max_user_namespaces", "0")  # of this user namespace: no further one can be made inside
    kernel.attach(None, "/", None, kernel.MS_REC | kernel.MS_PRIVATE)
    shown = _without_nested([*sources, *SYSTEM])
    site = next(s for s in _BUILDING_SITES if os.path.isdir(s) and not any(_within(path, s) for path in shown))
    kernel.attach("none", site, "tmpfs", kernel.MS_NOSUID | kernel.MS_NODEV, "mode=755,size=1m")
    for path in shown:
        _show(path, site)
    for device in DEVICES:
        if os.path.exists(device):
            _bind(device, site + device)
    os.makedirs(f"{site}/etc", exist_ok=True)
    for path, text in _ACCOUNTS.items():
        _write(site + path, text)
    for folder in (WORK, SHARED_MEMORY, "/proc", "/old"):
        os.makedirs(site + folder, exist_ok=True)
    with contextlib.suppress(OSError):  # refused where the outer /proc is masked, as in many containers; not needed
        kernel.attach(
            "proc", f"{site}/proc", "proc", kernel.MS_NOSUID | kernel.MS_NODEV | kernel.MS_NOEXEC, "hidepid=2"
        )
    os.chdir(site)
    kernel.pivot_root(".", "old")
    os.chdir("/")
    kernel.unmount("/old")
    os.rmdir("/old")
    kernel.attach(
        None, "/", None, kernel.MS_REMOUNT | kernel.MS_BIND | kernel.MS_RDONLY | kernel.MS_NOSUID | kernel.MS_NODEV
    )
    fresh_work(size)


def fresh_work(size: int) -> None:
    """Put an empty file system on each writable folder, over whatever was there."""
    for folder, share in ((WORK, size), (SHARED_MEMORY, size // 4)):
        with contextlib.suppress(OSError):
            kernel.unmount(folder)
        kernel.attach(
            "none", folder, "tmpfs", kernel.MS_NOSUID | kernel.MS_NODEV, f"mode=1777,size={share},nr_inodes=16384"
        )


def interpreter_sources() -> list[str]:
    """Return the folders this interpreter lives on: its prefix, and wherever its libraries were loaded from."""
    folders = {sys.base_prefix, sys.base_exec_prefix}
    with contextlib.suppress(OSError), open("/proc/self/maps", encoding="utf-8", errors="surrogateescape") as maps:
        for line in maps:
            path = line.rstrip("\n").partition("/")[2]
            if path and ".so" in path:
                folders.add(os.path.dirname(os.path.realpath("/" + path)))
    return sorted(folder for folder in folders if folder not in {"/", ""} and os.path.isdir(folder))


def _without_nested(paths: Iterable[str]) -> list[str]:
    kept: list[str] = []
    for path in sorted(set(paths), key=len):
        if os.path.lexists(path) and not any(_within(path, other) and not os.path.islink(other) for other in kept):
            kept.append(path)
    return kept


def _within(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder.rstrip("/") + "/")


def _show(path: str, site: str) -> None:
    if os.path.islink(path) and os.path.isdir(path):
        os.makedirs(os.path.dirname(site + path), exist_ok=True)
        os.symlink(os.readlink(path), site + path)
    else:
        _bind(path, site + path)
        kernel.make_read_only(site + path)


def _bind(source: str, target: str) -> None:
    if os.path.isdir(source):
        os.makedirs(target, exist_ok=True)
    else:
        os.makedirs(os.path.dirname(target), exist_ok=True)
        os.close(os.open(target, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o644))
    kernel.attach(source, target, None, kernel.MS_BIND | kernel.MS_REC)


def _write(path: str, text: str) -> None:
    with open(path, "w", encoding="ascii") as file:
        file.write(text)
