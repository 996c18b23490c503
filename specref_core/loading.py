"""Load a user's generator from ``pkg.mod:factory`` or ``path/to/file.py:factory`` and hold it to its contract."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import inspect
import sys
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from specref_core.errors import GeneratorError, InputError
from specref_core.fingerprint import weights_digest
from specref_core.generator import Budget, Completion, Generator, HasFingerprint

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from types import ModuleType


def load(target: str) -> Generator:
    """Import and call a factory that takes no arguments and returns a Generator.

    Args:
        target: ``pkg.mod:factory``, or ``path/to/file.py:factory``. The current directory is importable.

    Raises:
        InputError: the target is not importable, has no such name, or the name is not a factory without arguments.
        GeneratorError: the factory raised, or what it returned is not a Generator.
    """
    place, separator, name = target.rpartition(":")
    if not separator or not place or not name:
        raise InputError(f"{target!r}: expected pkg.mod:factory or path/to/file.py:factory")
    module = _import_file(place) if place.endswith(".py") else _import_module(place)
    factory = getattr(module, name, None)
    if factory is None:
        offered = sorted(n for n, v in vars(module).items() if callable(v) and not n.startswith("_"))
        raise InputError(f"{place} has no {name!r}; it offers: {', '.join(offered) or 'nothing callable'}")
    if not callable(factory):
        raise InputError(
            f"{target} is a {type(factory).__name__}, not callable; name a function that returns a Generator"
        )
    try:
        _signature(factory).bind()
    except TypeError as error:
        raise InputError(
            f"{target} must be callable without arguments: {error}; wrap it in a function of none"
        ) from error
    try:
        generator = factory()
    except (Exception, SystemExit) as error:
        raise GeneratorError(f"the factory {target} raised {type(error).__name__}: {error}") from error
    return check_generator(generator, target)


def check_generator(generator: object, origin: str) -> Generator:
    """Return ``generator`` if it meets the contract.

    Raises:
        GeneratorError: ``name`` or ``generate`` is missing, or ``generate`` cannot be called as the contract says.
    """
    if not isinstance(getattr(generator, "name", None), str) or not getattr(generator, "name", ""):
        raise GeneratorError(
            f"{origin} returned a {type(generator).__name__} without a name; set `name` to a non-empty str"
        )
    method = getattr(generator, "generate", None)
    if not callable(method):
        raise GeneratorError(
            f"{origin}: {getattr(generator, 'name', '?')!r} has no generate(prompts, *, budget, seed) method"
        )
    try:
        _signature(method).bind([], budget=Budget(), seed=0)
    except TypeError as error:
        raise GeneratorError(
            f"{origin}: generate of {getattr(generator, 'name', '?')!r} has the wrong signature ({error}); "
            "expected generate(self, prompts, *, budget, seed)"
        ) from error
    return generator  # type: ignore[return-value]


def generate(generator: Generator, prompts: Sequence[str], *, budget: Budget, seed: int) -> list[Completion]:
    """Call ``generator.generate`` and check what comes back.

    Raises:
        GeneratorError: it raised, returned the wrong number of completions, or something else than completions of str.
    """
    try:
        completions: Any = generator.generate(prompts, budget=budget, seed=seed)
    except GeneratorError:  # a wrapper has named the culprit already
        raise
    except (Exception, SystemExit) as error:
        raise GeneratorError(f"generator {generator.name!r} raised {type(error).__name__}: {error}") from error
    if not isinstance(completions, (list, tuple)):
        raise GeneratorError(
            f"generator {generator.name!r} returned a {type(completions).__name__}; expected a list of Completion"
        )
    if len(completions) != len(prompts):
        raise GeneratorError(
            f"generator {generator.name!r} returned {len(completions)} completions for {len(prompts)} prompts; "
            "expected one a prompt, in order"
        )
    for position, completion in enumerate(completions):
        if not isinstance(completion, Completion) or not isinstance(completion.text, str):
            got = type(completion.text if isinstance(completion, Completion) else completion).__name__
            raise GeneratorError(
                f"generator {generator.name!r} returned a {got} for prompt {position}; wrap the text: Completion(text)"
            )
    return list(completions)


def fingerprint(generator: Generator) -> str:
    """Name what a generator runs with, so that two models never share a ledger row.

    The generator's own ``fingerprint()`` where it has one; else a digest of its class, its source file and its
    attributes: plain data and containers of it by value, torch modules by their weights. What it keeps elsewhere (a
    global, a server) only its own ``fingerprint()`` can tell.
    """
    if isinstance(generator, HasFingerprint):
        return generator.fingerprint()
    kind = type(generator)
    digest = hashlib.sha256(f"{kind.__module__}.{kind.__qualname__}".encode())
    try:
        source = inspect.getsourcefile(kind)
    except TypeError:  # defined at a prompt, or compiled
        source = None
    if source and Path(source).is_file():
        digest.update(Path(source).read_bytes())
    digest.update("\n".join(_described(generator, depth=0)).encode("utf-8", "backslashreplace"))
    return digest.hexdigest()[:16]


# Attributes of attributes are followed this far; a cycle ends here too.
_DEPTH = 5


def _described(value: object, *, depth: int) -> list[str]:
    """Return lines that differ whenever the data reachable from ``value`` does, as far as it can be seen."""
    if isinstance(value, (str, bytes, int, float, complex, type(None), Path, Enum)):
        return [f"{type(value).__name__} {value!r}"]
    if isinstance(value, type) or inspect.isroutine(value):
        return [f"{value.__module__}.{value.__qualname__}"]
    lines = [f"{type(value).__module__}.{type(value).__qualname__}"]
    if callable(getattr(value, "state_dict", None)):
        return [*lines, weights_digest(value)]
    if hasattr(value, "__array_interface__"):
        array = np.ascontiguousarray(cast("Any", value))
        return [*lines, f"{array.dtype}{array.shape}{hashlib.sha256(array.tobytes()).hexdigest()}"]
    if depth == _DEPTH:
        return lines
    if isinstance(value, (list, tuple)):
        parts = [_described(part, depth=depth + 1) for part in value]
    elif isinstance(value, (set, frozenset)):
        parts = sorted(_described(part, depth=depth + 1) for part in value)
    elif isinstance(value, dict):
        parts = sorted([*_described(k, depth=depth + 1), *_described(v, depth=depth + 1)] for k, v in value.items())
    else:
        slots = [name for kind in type(value).__mro__ for name in _names(getattr(kind, "__slots__", ()))]
        named = {name: getattr(value, name) for name in slots if name != "__dict__" and hasattr(value, name)}
        named |= getattr(value, "__dict__", {})
        parts = [[name, *_described(named[name], depth=depth + 1)] for name in sorted(named)]
    return [*lines, *(f" {line}" for part in parts for line in part)]


def _names(slots: str | Iterable[str]) -> Iterable[str]:
    return (slots,) if isinstance(slots, str) else slots


def _signature(function: Callable[..., object]) -> inspect.Signature:
    """Return a function's signature; one that takes anything where it cannot be read."""
    try:
        return inspect.signature(function)
    except ValueError:
        anything = [
            inspect.Parameter("args", inspect.Parameter.VAR_POSITIONAL),
            inspect.Parameter("kwargs", inspect.Parameter.VAR_KEYWORD),
        ]
        return inspect.Signature(anything)


def _import_module(name: str) -> ModuleType:
    if "" not in sys.path and str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name and (name == error.name or name.startswith(error.name + ".")):
            raise InputError(
                f"no module named {error.name!r}; install it, run from its folder, or give file.py:factory"
            ) from error
        raise InputError(f"importing {name} failed: it needs {error.name!r}, which is not installed") from error
    except (Exception, SystemExit) as error:
        raise InputError(f"importing {name} raised {type(error).__name__}: {error}") from error


def _import_file(place: str) -> ModuleType:
    path = Path(place).resolve()
    if not path.is_file():
        raise InputError(f"no file {place!r} (looked for {path})")
    name = f"_specref_generator_{hashlib.sha256(str(path).encode()).hexdigest()[:12]}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    if str(path.parent) not in sys.path:
        sys.path.append(str(path.parent))  # so that the file may import its neighbours
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        raise InputError(f"importing {place} raised {type(error).__name__}: {error}") from error
    return module
