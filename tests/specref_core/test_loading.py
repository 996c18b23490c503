# ruff: noqa: ARG002, ARG005 - stubs have the signature of the contract, whatever they use of it
from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from specref_core.errors import GeneratorError, InputError
from specref_core.generator import Budget, Completion
from specref_core.loading import check_generator, fingerprint, generate, load

GOOD = """
from specref_core.generator import Completion

class Echo:
    name = "echo"
    def generate(self, prompts, *, budget, seed):
        return [Completion(p) for p in prompts]

def make():
    return Echo()

def wants(path):
    return Echo()

def boom():
    raise RuntimeError("no weights")

def leave():
    raise SystemExit(3)

def nothing():
    return None

not_a_function = 3
"""


@pytest.fixture
def module(tmp_path, monkeypatch):
    """A file with factories, importable under a name of its own."""
    name = f"user_{tmp_path.name.replace('-', '_')}"
    (tmp_path / f"{name}.py").write_text(GOOD, encoding="utf-8")
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.chdir(tmp_path)
    yield tmp_path / f"{name}.py"
    sys.modules.pop(name, None)


class Stub:
    name = "stub"

    def __init__(self, answer=None, **attributes):
        self.answer = answer
        self.__dict__.update(attributes)

    def generate(self, prompts, *, budget, seed):
        if isinstance(self.answer, BaseException):
            raise self.answer
        return self.answer


class TestLoad:
    """From a name to a generator."""

    @pytest.mark.parametrize("form", ["module", "file", "relative"])
    def test_modules_and_files_are_found(self, module, form):
        place = {"module": module.stem, "file": str(module), "relative": module.name}[form]
        assert load(f"{place}:make").name == "echo"

    def test_a_class_without_arguments_is_a_factory(self, module):
        assert load(f"{module}:Echo").name == "echo"

    def test_a_file_may_import_its_neighbours(self, module):
        (module.parent / "neighbour_of_user.py").write_text("answer = 42\n", encoding="utf-8")
        module.with_name("second.py").write_text("import neighbour_of_user\n" + GOOD, encoding="utf-8")
        assert load(f"{module.with_name('second.py')}:make").name == "echo"

    @pytest.mark.parametrize(
        ("target", "kind", "message"),
        [
            ("no colon", InputError, "expected pkg.mod:factory"),
            ("{module}:", InputError, "expected pkg.mod:factory"),
            (":make", InputError, "expected pkg.mod:factory"),
            ("no_such_module:make", InputError, "no module named 'no_such_module'"),
            ("no/such/file.py:make", InputError, "no file 'no/such/file.py'"),
            ("{module}:made", InputError, "has no 'made'; it offers: Completion, Echo, boom"),
            ("{module}:not_a_function", InputError, "is a int, not callable"),
            ("{module}:wants", InputError, "without arguments: missing a required argument: 'path'"),
            ("{module}:boom", GeneratorError, "raised RuntimeError: no weights"),
            ("{module}:leave", GeneratorError, "raised SystemExit: 3"),
            ("{module}:nothing", GeneratorError, "returned a NoneType without a name"),
            ("{broken}:make", InputError, "raised SyntaxError"),
            ("{lacking}:make", InputError, "ModuleNotFoundError: No module named 'not_installed'"),
            ("{leaving}:make", InputError, "raised SystemExit"),
        ],
    )
    def test_mistakes_are_named(self, module, target, kind, message):
        files = {"broken": "def (", "lacking": "import not_installed\n", "leaving": "import sys\nsys.exit(1)\n"}
        places = {"module": module}
        for name, content in files.items():
            places[name] = module.with_name(f"{name}.py")
            places[name].write_text(content, encoding="utf-8")
        with pytest.raises(kind, match=message):
            load(target.format(**places))

    def test_a_module_that_lacks_a_package_says_which(self, module):
        module.with_name("lacking_mod.py").write_text("import not_installed\n", encoding="utf-8")
        with pytest.raises(InputError, match="it needs 'not_installed'"):
            load("lacking_mod:make")


class TestCheck:
    """The contract, before anything is run."""

    @pytest.mark.parametrize(
        ("attributes", "message"),
        [
            ({"name": ""}, "without a name"),
            ({"name": 3}, "without a name"),
            ({"name": "x"}, "'x' has no generate"),
            ({"name": "x", "generate": "text"}, "'x' has no generate"),
            ({"name": "x", "generate": staticmethod(lambda prompts: [])}, "wrong signature"),
            ({"name": "x", "generate": staticmethod(lambda prompts, *, budget: [])}, "wrong signature"),
        ],
    )
    def test_breaches_name_the_generator(self, attributes, message):
        with pytest.raises(GeneratorError, match=message) as raised:
            check_generator(type("Bad", (), attributes)(), "here:make")
        assert "here:make" in str(raised.value)

    def test_extra_parameters_with_defaults_are_fine(self):
        kind = type("Fine", (), {"name": "x", "generate": lambda self, prompts, *, budget, seed, top_p=1.0: []})
        check_generator(kind(), "here:make")


class TestGenerate:
    """What comes back from foreign code."""

    @pytest.mark.parametrize(
        ("answer", "message"),
        [
            (ValueError("bad prompt"), "'stub' raised ValueError: bad prompt"),
            (SystemExit(1), "'stub' raised SystemExit: 1"),
            (None, "returned a NoneType; expected a list"),
            ("ab", "returned a str; expected a list"),
            ([Completion("a")], "returned 1 completions for 2 prompts"),
            ([Completion("a")] * 3, "returned 3 completions for 2 prompts"),
            (["a", "b"], "returned a str for prompt 0; wrap the text"),
            ([Completion("a"), Completion(b"b")], "returned a bytes for prompt 1"),
        ],
    )
    def test_breaches_are_its_own_fault(self, answer, message):
        with pytest.raises(GeneratorError, match=message):
            generate(Stub(answer), ["p", "q"], budget=Budget(), seed=0)

    def test_an_interrupt_is_not_swallowed(self):
        with pytest.raises(KeyboardInterrupt):
            generate(Stub(KeyboardInterrupt()), ["p"], budget=Budget(), seed=0)

    def test_completions_pass_through(self):
        wanted = [Completion("a "), Completion("\n")]
        assert generate(Stub(tuple(wanted)), ["p", "q"], budget=Budget(), seed=0) == wanted


class TestFingerprint:
    """Two models never share a name."""

    def test_its_own_fingerprint_is_taken(self):
        kind = type("Named", (Stub,), {"fingerprint": lambda self: "mine"})
        assert fingerprint(kind()) == "mine"

    @pytest.mark.parametrize(
        ("one", "other"),
        [
            ("a", "b"),
            (1, True),
            (1, 1.0),
            (["a"], ["b"]),
            (["a"], ("a",)),
            ({"k": 1}, {"k": 2}),
            ({1, 2}, {1, 3}),
            (Path("a"), Path("b")),
            (np.zeros(3), np.ones(3)),
            (np.zeros(3), np.zeros(3, np.float32)),
            (Stub("a"), Stub("b")),
            (torch.nn.Linear(2, 2), torch.nn.Linear(2, 2)),
            (len, sum),
        ],
    )
    def test_differs_with_what_the_generator_holds(self, one, other):
        assert fingerprint(Stub(one)) != fingerprint(Stub(other))

    def test_is_stable(self):
        first, second = (Stub({"b": {3, 1, 2}, "a": [1.5, None]}, x=np.arange(3)) for _ in range(2))
        assert fingerprint(first) == fingerprint(second)

    def test_slots_count_as_attributes(self):
        class Slotted:
            __slots__ = ("level",)
            name = "slotted"

            def generate(self, prompts, *, budget, seed):
                return []

        first, second = Slotted(), Slotted()
        first.level, second.level = 1, 2
        assert fingerprint(first) != fingerprint(second)

    def test_a_cycle_ends(self):
        stub = Stub()
        stub.answer = stub
        assert len(fingerprint(stub)) == 16


def test_messages_spell_what_no_terminal_can_print():
    from specref_core.errors import GeneratorError

    told = str(GeneratorError("it wrote 'a\ud800é'"))
    assert told == "it wrote 'a\\ud800é'"
    assert told.encode("utf-8")
