"""Reach a Ray cluster or start one here, and say how many workers it has room for.

Ray itself waits minutes for an address at which nothing listens; an address is tried before Ray is given it.
"""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from specref_core.errors import InputError, SpecRefError

if TYPE_CHECKING:
    from collections.abc import Mapping

LOCAL = "local"
_PROBE_SECONDS = 5.0
# A client of HTTP/2 opens with this preface and an empty SETTINGS frame; a server (gRPC is one) answers with its own.
_HTTP2_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(3) + b"\x04" + bytes(5)
_SETTINGS_FRAME = 4
_HELPER_MILLISECONDS = 100_000
# Enough for the batches under way; what does not fit spills to disk.
_OBJECT_STORE_BYTES = 512 * 2**20


@dataclass(frozen=True, slots=True)
class Cluster:
    """A cluster that this process is connected to.

    Attributes:
        address: as it was asked for; ``local`` for one started here.
        own: whether leaving it is up to us: false where the caller had connected before.
    """

    address: str
    own: bool

    @property
    def local(self) -> bool:
        """Whether it was started here and ends with this process."""
        return self.address == LOCAL


def import_ray() -> Any:
    """Return the ``ray`` module.

    Raises:
        InputError: it is not installed.
    """
    # Nothing is reported to anybody unless the user asked for it.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
    except ImportError as error:
        raise InputError(f"--engine ray needs Ray: pip install 'specref[cluster]' ({error})") from error
    return ray


def connect(address: str | None, *, cpus: int | None = None) -> Cluster:
    """Connect this process to a cluster.

    Args:
        address: ``host:port`` of a head node, ``auto`` for the cluster that runs on this machine, ``local`` to start
            one here that ends with this process; ``None`` reads ``RAY_ADDRESS`` and starts one where that is not set.
        cpus: workers that a cluster started here must have room for.

    Raises:
        InputError: Ray is not installed, or no cluster is at the address.
        SpecRefError: none could be started here.
    """
    if address is not None and not address.strip():
        raise InputError("--address is empty (an unset variable?); give host:port, auto or local, or leave it out")
    ray = import_ray()
    if ray.is_initialized():
        return Cluster("this process's", own=False)
    wanted = address or os.environ.get("RAY_ADDRESS") or LOCAL
    quiet = {"log_to_driver": False, "logging_level": "ERROR"}
    try:
        if wanted == LOCAL:
            # Ray's own helpers have seconds to start, by default; a busy machine needs more.
            os.environ.setdefault("RAY_agent_register_timeout_ms", str(_HELPER_MILLISECONDS))
            ray.init(
                address=LOCAL,
                num_cpus=max(cpus or 1, os.cpu_count() or 1),
                include_dashboard=False,
                object_store_memory=_OBJECT_STORE_BYTES,
                **quiet,
            )
        else:
            if wanted != "auto":
                probe(wanted)
            ray.init(address=wanted, **quiet)
    except SpecRefError:
        raise
    except (Exception, SystemExit) as error:
        ray.shutdown()
        told = " ".join(str(error).split())
        if wanted == LOCAL:
            raise SpecRefError(f"Ray could not be started on this machine: {type(error).__name__}: {told}") from error
        raise InputError(
            f"--address {wanted}: no Ray cluster could be joined there ({type(error).__name__}: {told}); "
            "`ray status` on the head node tells its address, and Ray and Python must have its versions"
        ) from error
    return Cluster(wanted, own=True)


def probe(address: str) -> None:
    """Refuse an address at which no server of Ray's protocol answers, within seconds.

    Raises:
        InputError: it is no address, nothing listens there, or something else does.
    """
    host, port = _split(address)
    try:
        with socket.create_connection((host, port), timeout=_PROBE_SECONDS) as connection:
            if os.environ.get("RAY_USE_TLS") == "1":
                return  # the server speaks only after a handshake, with certificates that are Ray's business
            connection.sendall(_HTTP2_PREFACE)
            answer = b""
            while len(answer) < 4 and (received := connection.recv(9)):
                answer += received
    except (OSError, UnicodeError) as error:
        raise InputError(
            f"--address {address}: no Ray cluster answers there ({error}); start one with `ray start --head`, "
            "or leave --address out to start one on this machine"
        ) from error
    if len(answer) < 4 or answer[3] != _SETTINGS_FRAME:
        raise InputError(
            f"--address {address}: something listens there, but not a Ray head node; its port is 6379 unless "
            "`ray start --head --port` said otherwise (10001 after ray://)"
        )


def _split(address: str) -> tuple[str, int]:
    host, separator, port = address.removeprefix("ray://").rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not separator or not host or not port.isdecimal() or not 0 < int(port) < 65536:
        raise InputError(f"--address {address!r}: expected host:port, ray://host:port, auto or local")
    return host, int(port)


def room(nodes: list[Mapping[str, Any]], *, gpus: float) -> int:
    """Return how many workers of one CPU and so many GPUs fit on the living nodes, if nobody else uses them.

    Args:
        nodes: what ``ray.nodes()`` returns.
        gpus: GPUs a worker needs, all on one node; a fraction shares one.
    """
    total = 0
    for node in nodes:
        if node.get("Alive"):
            has = node.get("Resources", {})
            fits = has.get("CPU", 0.0)
            if gpus > 0:
                # Half a GPU never straddles two of them; the tolerance is for thirds.
                share = int(1 / gpus + 1e-6) * int(has.get("GPU", 0.0)) if gpus < 1 else has.get("GPU", 0.0) / gpus
                fits = min(fits, share)
            total += int(fits + 1e-6)
    return total


def resources(nodes: list[Mapping[str, Any]]) -> str:
    """Say what the living nodes have together."""
    alive = [node for node in nodes if node.get("Alive")]
    cpus = sum(node.get("Resources", {}).get("CPU", 0.0) for node in alive)
    gpus = sum(node.get("Resources", {}).get("GPU", 0.0) for node in alive)
    return f"{cpus:g} CPUs and {gpus:g} GPUs on {len(alive)} node{'' if len(alive) == 1 else 's'}"
