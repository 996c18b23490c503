"""One worker of the judge: an interpreter that forks into a referee and a zygote, and ends both together.

Run as a script with ``python -I -S``; its arguments are the descriptor of the socket to the judge and the settings of
the zygote as JSON. What both need is loaded before the fork, so that a worker costs one start of the interpreter. This
process never runs a line of a benchmark or of a candidate: it waits for the judge to close the socket, or for either
child to die, and then kills and collects both.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import sys
from collections.abc import Callable
from typing import NoReturn

if __name__ == "__main__":
    sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))

from protocols.execution import kernel


def _child(role: Callable[[], None]) -> int:
    """Fork a process of its own session for one role and return its number."""
    child = os.fork()
    if child:
        return child
    try:
        kernel.die_with_parent(signal.SIGKILL)
        os.setsid()
        role()
    except BaseException as error:
        print(f"a worker's process ended: {error!r}", file=sys.__stderr__)
    finally:
        os._exit(0)


def main() -> NoReturn:
    """Start both processes, wait for the end of any, end all."""
    judge = socket.socket(fileno=int(sys.argv[1]))
    judge.set_inheritable(False)
    settings = json.loads(sys.argv[2])
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # an interrupt is the judge's to handle
    referee_end, zygote_end = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)

    def referee() -> None:
        zygote_end.close()
        from protocols.execution.referee import serve

        serve(judge, referee_end)

    def zygote() -> None:
        judge.close()
        referee_end.close()
        from protocols.execution.zygote import serve

        sys.path.pop(0)  # nothing that a candidate imports comes from the folder above
        serve(zygote_end, settings)

    children = [_child(zygote), _child(referee)]
    referee_end.close()
    zygote_end.close()
    poll = select.poll()
    poll.register(judge, 0)  # reports only that the other side is gone
    for child in children:
        poll.register(os.pidfd_open(child), select.POLLIN)
    poll.poll()
    for child in children:
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)
    for child in children:
        os.waitpid(child, 0)
    os._exit(0)


if __name__ == "__main__":
    main()
