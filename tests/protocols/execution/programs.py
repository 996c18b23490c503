"""Programs for ``add(x, y)`` of HumanEval/53's kind: what each does, and what the judge must say."""

# Each program stays on one line, however long.
# ruff: noqa: E501

from __future__ import annotations

import textwrap
from dataclasses import dataclass

from protocols.problems import CodeProblem

PROMPT = 'def add(x: int, y: int):\n    """Add two numbers x and y\n    >>> add(2, 3)\n    5\n    """\n'
TESTS = """

METADATA = {}


def check(candidate):
    import random

    assert candidate(0, 1) == 1
    assert candidate(1, 0) == 1
    assert candidate(2, 3) == 5
    assert candidate(5, 7) == 12

    for i in range(20):
        x, y = random.randint(0, 1000), random.randint(0, 1000)
        assert candidate(x, y) == x + y

"""
ADD = CodeProblem("humaneval", "HumanEval/53", PROMPT, "add", TESTS, "check", "", "    return x + y\n", True)
LIMIT = 3.0
"""Seconds for a whole check in these tests: generous to a loaded machine, short enough for the programs that hang."""


@dataclass(frozen=True)
class Case:
    name: str
    program: str
    expected: tuple[str, ...]
    """``pass``, or the failure kinds that are acceptable."""


def case(name: str, program: str, *expected: str) -> Case:
    return Case(name, textwrap.dedent(program).lstrip("\n"), expected)


RIGHT = "def add(x, y):\n    return x + y\n"
WRONG = "def add(x, y):\n    return x - y\n"

CORRECT = [
    case("plain", RIGHT, "pass"),
    case("prompt and body", PROMPT + "    return x + y\n", "pass"),
    case("getcwd", "import os\ndef add(x, y):\n    assert os.path.isdir(os.getcwd())\n    return x + y", "pass"),
    case(
        "tempfile",
        """
        import tempfile, os
        def add(x, y):
            with tempfile.TemporaryDirectory() as d, open(os.path.join(d, 'a'), 'w+') as f:
                f.write(str(x + y)); f.seek(0)
                return int(f.read())
        """,
        "pass",
    ),
    case(
        "writes into its own folder",
        "def add(x, y):\n    open('a.txt', 'w').write(str(x + y))\n    return int(open('a.txt').read())",
        "pass",
    ),
    case(
        "thread",
        """
        import threading
        def add(x, y):
            out = []
            t = threading.Thread(target=lambda: out.append(x + y)); t.start(); t.join()
            return out[0]
        """,
        "pass",
    ),
    case(
        "thirty threads",
        """
        import threading
        def add(x, y):
            out = []
            ts = [threading.Thread(target=out.append, args=(x + y,)) for _ in range(30)]
            [t.start() for t in ts]; [t.join() for t in ts]
            return out[0]
        """,
        "pass",
    ),
    case(
        "leaves a non-daemon thread",
        """
        import threading, time
        def add(x, y):
            if x == 2: threading.Thread(target=time.sleep, args=(60,)).start()
            return x + y
        """,
        "pass",
    ),
    case("main block", RIGHT + "if __name__ == '__main__':\n    raise SystemExit(1)\n", "pass"),
    case("main block with input", RIGHT + "if __name__ == '__main__':\n    print(add(int(input()), 1))\n", "pass"),
    case(
        "deep recursion",
        """
        import sys
        sys.setrecursionlimit(30000)
        def count(n):
            return 0 if n == 0 else 1 + count(n - 1)
        def add(x, y):
            return x + y + count(20000) - 20000
        """,
        "pass",
    ),
    case(
        "recursion in a thread of its own stack",
        """
        import sys, threading
        def count(n):
            return 0 if n == 0 else 1 + count(n - 1)
        def add(x, y):
            sys.setrecursionlimit(10**6)
            threading.stack_size(256 << 20)
            out = []
            t = threading.Thread(target=lambda: out.append(x + y + count(9000) - 9000)); t.start(); t.join()
            return out[0]
        """,
        "pass",
    ),
    case("input under end of file", "def add(x, y):\n    try: input()\n    except EOFError: return x + y", "pass"),
    case("prints", "def add(x, y):\n    print('adding', x, y)\n    return x + y", "pass"),
    case("prints 64 MiB", "def add(x, y):\n    if x == 5: print('a' * (64 << 20))\n    return x + y", "pass"),
    case("writes 8 MiB to descriptor 1", "import os\ndef add(x, y):\n    if x == 5: os.write(1, b'a' * (8 << 20))\n    return x + y", "pass"),
    case("touches 512 MiB", "def add(x, y):\n    if x == 5:\n        b = bytearray(512 << 20)\n        b[::4096] = b'x' * len(b[::4096])\n    return x + y", "pass"),
    case("form feed", "\x0cdef add(x, y):\n    return x + y\n", "pass"),
    case("coding line", "# -*- coding: latin-1 -*-\ndef add(x, y):\n    'é'\n    return x + y", "pass"),
    case("byte order mark", "\ufeffdef add(x, y):\n    return x + y", "pass", "syntax"),
    case("CRLF", "def add(x, y):\r\n    return x + y\r\n", "pass"),
    case("tabs", "def add(x, y):\n\tif x:\n\t\tpass\n\treturn x + y", "pass"),
    case("future import", "from __future__ import annotations\ndef add(x: Foo, y) -> Bar:\n    return x + y", "pass"),
    case(
        "dataclass",
        "from __future__ import annotations\nfrom dataclasses import dataclass\n@dataclass\nclass P:\n    x: int\n    y: int\n"
        "def add(x, y):\n    p = P(x, y)\n    return p.x + p.y",
        "pass",
    ),
    case("bool and float equal ints", "def add(x, y):\n    return float(x + y)", "pass"),
    case("int subclass", "class I(int): pass\ndef add(x, y):\n    return I(x + y)", "pass"),
    case("lambda", "add = lambda x, y: x + y", "pass"),
    case("callable object", "class A:\n    def __call__(self, x, y): return x + y\nadd = A()", "pass"),
    case("redirects stdout", "import sys, io\ndef add(x, y):\n    sys.stdout = io.StringIO(); print(1)\n    return x + y", "pass"),
    case("closes stdout", "import sys\nsys.stdout.close()\ndef add(x, y):\n    return x + y", "pass"),
    case("uses a child process", "import os\ndef add(x, y):\n    p = os.fork()\n    if p == 0: os._exit(0)\n    os.waitpid(p, 0)\n    return x + y", "pass"),
    case("own alarm handler that raises", "import signal, time\ndef h(*a): raise KeyError\nsignal.signal(signal.SIGALRM, h)\ndef add(x, y):\n    time.sleep(0.03)\n    return x + y", "pass"),
    case("own alarm handler", "import signal\nsignal.signal(signal.SIGALRM, lambda *a: None)\n" + RIGHT, "pass"),
    case("star import", "from math import *\ndef add(x, y):\n    return int(floor(x + y))", "pass"),
    case("no tests module to pollute", "import sys\nsys.path.clear()\n" + RIGHT, "pass"),
    case("ten megabytes of text", "x = '''" + "a" * (10 << 20) + "'''\n" + RIGHT, "pass"),
    case("keyword names", "def add(x, y, *rest, **more):\n    return sum((x, y))", "pass"),
]  # fmt: skip

WRONG_VALUES = [
    case("wrong", WRONG, "wrong-answer"),
    case("returns nothing", "def add(x, y):\n    x + y", "wrong-answer"),
    case("right for the fixed asserts only", "def add(x, y):\n    return {(0,1):1,(1,0):1,(2,3):5,(5,7):12}.get((x,y))", "wrong-answer"),
    case("always equal", "class A:\n    def __eq__(self, o): return True\ndef add(x, y):\n    return A()", "wrong-answer"),
    case("always equal int", "class A(int):\n    def __eq__(self, o): return True\ndef add(x, y):\n    return A(0)", "wrong-answer"),
    case("always equal str", "class A(str):\n    def __eq__(self, o): return True\ndef add(x, y):\n    return A()", "wrong-answer"),
    case("always equal, hash and repr too", "class A:\n    def __eq__(s, o): return True\n    def __repr__(s): return '1'\n    def __hash__(s): return 1\ndef add(x, y):\n    return A()", "wrong-answer"),
    case("lying iterator", "class A:\n    def __iter__(s): return s\n    def __next__(s): return 1\n    __eq__ = lambda s, o: True\ndef add(x, y):\n    return A()", "wrong-answer", "timeout"),
    case("equality that sleeps", "import time\nclass A:\n    def __eq__(self, o): time.sleep(30); return True\ndef add(x, y):\n    return A()", "wrong-answer"),
    case("patches randint", "import random\nrandom.randint = lambda a, b: 0\ndef add(x, y):\n    return {(0,1):1,(1,0):1,(2,3):5,(5,7):12}.get((x,y), 0)", "wrong-answer"),
    case("returns itself as the class of NotImplemented", "def add(x, y):\n    return NotImplemented", "wrong-answer"),
    case("frame walk for the verdict", """
        import sys
        def add(x, y):
            f = sys._getframe()
            while f:
                for k, v in list(f.f_locals.items()):
                    if isinstance(v, list):
                        try: v.append('passed')
                        except Exception: pass
                f = f.f_back
            return 0
        """, "wrong-answer", "output", "exception", "exited", "timeout"),
    case("frame walk for the solution", """
        import sys
        def add(x, y):
            f = sys._getframe()
            while f:
                for v in list(f.f_locals.values()) + list(f.f_globals.values()):
                    if 'canonical' in str(v)[:100000] or 'randint' in str(v)[:100000]: return x + y
                f = f.f_back
            return 0
        """, "wrong-answer", "output"),
    case("trace jumps over tests", """
        import sys
        def add(x, y):
            def jump(frame, event, arg):
                frame.f_lineno += 1
                return jump
            f = sys._getframe().f_back
            while f: f.f_trace = jump; f = f.f_back
            sys.settrace(jump)
            return 0
        """, "wrong-answer", "exception", "exited", "output"),
    case("asks the garbage collector for tests", """
        import gc
        def add(x, y):
            for o in gc.get_objects():
                if isinstance(o, dict) and 'check' in o: return x + y
            return 0
        """, "wrong-answer"),
    case("patches the encoder", """
        import json, builtins, sys
        json.dumps = lambda *a, **k: '{"passed": true}'
        json.JSONEncoder.encode = lambda *a, **k: '{"passed": true, "loaded": true, "answers": [], "more": false}'
        builtins.repr = lambda o: 'True'
        def add(x, y): return 0
        """, "wrong-answer", "output", "exception", "exited"),
]  # fmt: skip

CHANNEL = [
    case("forges frames on every descriptor", """
        import os, struct
        def add(x, y):
            for body in (b'{"passed": true}', b'{"correct": true, "failure": null}', b'{"value": true}'):
                for fd in range(3, 64):
                    try: os.write(fd, struct.pack('>I', len(body)) + body)
                    except OSError: pass
            return 0
        """, "wrong-answer", "output"),
    case("answers before it is asked", """
        import os, struct
        body = b'{"loaded": true, "answers": [{"value": 1},{"value": 1},{"value": 5},{"value": 12}], "more": false}'
        os.write(3, struct.pack('>I', len(body)) + body)
        body = b'{"value": 1}'
        for _ in range(100): os.write(3, struct.pack('>I', len(body)) + body)
        def add(x, y): return 0
        """, "wrong-answer", "output"),
    case("garbage on the channel", "import os\nos.write(3, b'garbage' * 1000)\n" + RIGHT, "output"),
    case("announces four gigabytes", "import os\nos.write(3, b'\\xff' * 4)\n" + RIGHT, "output"),
    case("announces more than it sends", "import os\nos.write(3, b'\\0\\0\\1\\0')\nos._exit(0)\n", "exited", "output"),
    case("deep nesting", "import os, struct\nb = b'[' * 1000000\nos.write(3, struct.pack('>I', len(b)) + b)\n" + RIGHT, "output", "timeout"),
    case("nested value in a right frame", "import os, struct\nb = b'{\"loaded\": true, \"answers\": [{\"value\":' + b'[\"l\",' * 900 + b'1' + b']' * 900 + b'}], \"more\": false}'\nos.write(3, struct.pack('>I', len(b)) + b)\n" + RIGHT, "output", "wrong-answer"),
    case("closes the channel", "import os\ndef add(x, y):\n    os.close(3)\n    return x + y", "output", "exited", "exception"),
    case("closes everything", "import os\nos.closerange(0, 300)\n" + RIGHT, "output", "exited"),
    case("forks and both answer", "import os\ndef add(x, y):\n    os.fork()\n    return x - y", "wrong-answer", "output"),
    case("child answers for a dead parent", "import os\nif os.fork(): os._exit(0)\n" + WRONG, "wrong-answer", "exited"),
    case("huge answer", "def add(x, y):\n    return 'a' * (64 << 20)", "output"),
    case("answer that holds itself", "def add(x, y):\n    a = []; a.append(a)\n    return a", "output", "wrong-answer"),
    case("answer of two to the forty items", "def add(x, y):\n    a = [1]\n    for _ in range(40): a = [a, a]\n    return a", "output", "wrong-answer", "timeout"),
    case("a number of a million digits", "def add(x, y):\n    return 10 ** 1000000", "wrong-answer"),
    case("an endless iterator", "import itertools\ndef add(x, y):\n    return itertools.count()", "wrong-answer"),
    case("not a number", "def add(x, y):\n    return float('nan')", "wrong-answer"),
    case("dictionary of lists as keys, forged", "import os, struct\nb = b'{\"loaded\": true, \"answers\": [{\"value\":[\"d\",[\"l\"],1]}], \"more\": false}'\nos.write(3, struct.pack('>I', len(b)) + b)\n" + RIGHT, "output"),
    case("claims an unknown failure", "import os, struct\nb = b'{\"failure\": \"passed\"}'\nos.write(3, struct.pack('>I', len(b)) + b)\n" + RIGHT, "output"),
    case("claims a failure that is no text", "import os, struct\nb = b'{\"failure\": [1], \"text\": {}}'\nos.write(3, struct.pack('>I', len(b)) + b)\n" + RIGHT, "output"),
    case("an exception that is no name", "import os, struct\nb = b'{\"loaded\": true, \"answers\": [{\"raised\": 7, \"arguments\": 7}], \"more\": false}'\nos.write(3, struct.pack('>I', len(b)) + b)\n" + RIGHT, "output", "exception"),
]  # fmt: skip

DEATHS = [
    case("os._exit(0) at once", "import os\nos._exit(0)\n", "exited"),
    case("os._exit(0) when called", "import os\ndef add(x, y):\n    os._exit(0)", "exited"),
    case("sys.exit(0) at once", WRONG + "import sys\nsys.exit(0)\n", "exited"),
    case("sys.exit after a right function", RIGHT + "import sys\nsys.exit()\n", "exited"),
    case("sys.exit(0) when called", "import sys\ndef add(x, y):\n    sys.exit(0)", "exited"),
    case("quit", "def add(x, y):\n    raise SystemExit", "exited"),
    case("execv true", "import os\ndef add(x, y):\n    os.execv('/bin/true', ['true'])", "exited", "killed", "exception", "output"),
    case("kills itself", "import os, signal\ndef add(x, y):\n    os.kill(os.getpid(), signal.SIGKILL)", "killed"),
    case("terminates itself", "import os, signal\ndef add(x, y):\n    os.kill(os.getpid(), signal.SIGTERM)", "killed"),
    case("stops itself", "import os, signal\ndef add(x, y):\n    os.kill(os.getpid(), signal.SIGSTOP)", "timeout"),
    case("aborts", "import os\ndef add(x, y):\n    os.abort()", "killed"),
    case("segfault", "import ctypes\ndef add(x, y):\n    ctypes.string_at(0)", "killed"),
    case("kills its group", "import os, signal\ndef add(x, y):\n    os.killpg(0, signal.SIGKILL)", "killed"),
    case("kills all it may", "import os, signal\ndef add(x, y):\n    os.kill(-1, signal.SIGKILL)\n    return 0", "killed", "wrong-answer", "exception"),
]  # fmt: skip

TIME = [
    case("infinite loop", "def add(x, y):\n    while True: pass", "timeout"),
    case("infinite loop while loading", "while True: pass", "timeout"),
    case("swallows everything", "def add(x, y):\n    while True:\n        try:\n            while True: pass\n        except BaseException: pass", "timeout"),
    case("sleeps, swallows, answers", "import time\ndef add(x, y):\n    try: time.sleep(30)\n    except BaseException: pass\n    return x + y", "timeout"),
    case("loops, swallows, answers", "def add(x, y):\n    n = 0\n    try:\n        while True: n += 1\n    except BaseException: pass\n    return x + y", "timeout"),
    case("cancels the alarm and oversleeps", f"import signal, time\ndef add(x, y):\n    signal.alarm(0); signal.setitimer(signal.ITIMER_REAL, 0)\n    time.sleep({LIMIT + 0.3})\n    return x + y", "timeout"),
    case("ignores the alarm", f"import signal, time\nsignal.signal(signal.SIGALRM, signal.SIG_IGN)\ndef add(x, y):\n    t = time.time() + {LIMIT + 0.3}\n    while time.time() < t: pass\n    return x + y", "timeout"),
    case("patches the clock", "import time\ntime.monotonic = time.time = lambda: 0.0\ndef add(x, y):\n    while True: pass", "timeout"),
    case("a number that takes for ever", "def add(x, y):\n    return 9 ** 9 ** 9", "timeout", "memory", "exception"),
    case("a regular expression that takes for ever", "import re\ndef add(x, y):\n    re.match('(a+)+$', 'a' * 64 + 'b')\n    return x + y", "timeout"),
]  # fmt: skip

FORM = [
    case("does not parse", "def add(x, y:\n    return x + y", "syntax"),
    case("indentation", "def add(x, y):\nreturn x + y", "indentation"),
    case("tab among spaces", "def add(x, y):\n    if x:\n\tpass\n    return x + y", "indentation"),
    case("empty", "", "name-error"),
    case("another function", "def plus(x, y):\n    return x + y", "name-error"),
    case("undefined name", "def add(x, y):\n    return x + z", "name-error"),
    case("undefined name while loading", "import math\nfoo\n" + RIGHT, "name-error"),
    case("null byte", "def add(x, y):\n    return x + y\x00", "syntax"),
    case("lone surrogate", "s = '\ud800'\ndef add(x, y):\n    return x + y", "syntax"),
    case("unclosed brackets", "(" * 100000, "syntax", "memory"),
    case("nested operators", "def add(x, y):\n    return " + "-" * 100000 + "x", "syntax", "memory", "killed"),
    case("raises", "def add(x, y):\n    raise ValueError('no')", "exception"),
    case("asserts in the program", "def add(x, y):\n    assert False, 'mine'", "exception"),
    case("missing module", "import numpy_that_is_not_there\n" + RIGHT, "exception"),
    case("not callable", "add = 3", "exception"),
    case("recursion without end", "def add(x, y):\n    return add(x, y)", "exception"),
    case("exception with a hostile text", "class E(Exception):\n    def __str__(self): raise KeyError\ndef add(x, y):\n    raise E", "exception"),
    case("raises a string", "def add(x, y):\n    raise 'text'", "exception"),
    case("ten megabytes of prose", "word " * (2 << 20), "syntax", "memory"),
]  # fmt: skip

MEMORY = [
    case("five gigabytes by mmap", "import mmap\ndef add(x, y):\n    m = mmap.mmap(-1, 5 << 30)\n    return x + y", "memory"),
    case("five gigabytes of bytes", "def add(x, y):\n    b = bytearray(5 << 30)\n    return x + y", "memory"),
    case("grows for ever", "def add(x, y):\n    a = []\n    while True: a.append(bytearray(1 << 24))", "memory"),
    case("grows while loading", "a = []\nwhile True: a.append('x' * (1 << 24))\n", "memory"),
    case("says MemoryError", "def add(x, y):\n    raise MemoryError", "memory"),
]  # fmt: skip

ALL = [*CORRECT, *WRONG_VALUES, *CHANNEL, *DEATHS, *TIME, *FORM, *MEMORY]
