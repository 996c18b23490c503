"""Results that a later run of the same code on the same files need not compute again.

What is kept is a measurement, never a verdict: it is judged anew in every run. Any change of a source file, a weight or
a tokenizer makes a new place for results, so that nothing stale can be found.
"""

from __future__ import annotations

import hashlib
import json
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from audits.json_output import write_json
from specref_core.errors import InputError
from specref_core.fingerprint import files_digest

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")
SUFFIXES = (".py", ".json", ".safetensors")
"""Files that can change a result: code, settings and tokenizers, weights."""
_RECORD = "recorded_verdicts.json"  # says what was concluded, and changes nothing that is measured


class KeptResults:
    """A folder of results, one file each.

    Args:
        folder: that all runs share; made where it is missing.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def recall(self, key: str, compute: Callable[[], T]) -> T:
        """Return the result kept under a key, or compute and keep it.

        Args:
            key: names everything that the result depends on beyond source files: seeds, limits, settings.
            compute: makes the result; it must be plain data that JSON keeps as it is.
        """
        place = self.folder / f"results-{source_digest()}"
        path = place / f"{hashlib.sha256(key.encode()).hexdigest()[:24]}.json"
        try:
            kept = json.loads(path.read_text(encoding="utf-8"))
            if kept["key"] == key:
                found: T = kept["result"]
                return found
        except (OSError, ValueError, KeyError, TypeError):
            pass  # nothing there, or a file that something else has damaged: compute it
        made = compute()
        try:
            place.mkdir(parents=True, exist_ok=True)
            write_json(path, {"key": key, "result": made})
        except (OSError, InputError):
            pass  # a folder that cannot be written costs the next run its time and nothing else
        return made


@cache
def source_digest() -> str:
    """Return 12 digits that change with every file of the packages that can change a result."""
    import audits
    import fixtures
    import protocols
    import specref_core

    folders = [Path(str(package.__file__)).parent for package in (specref_core, protocols, fixtures, audits)]
    return files_digest(folders, suffixes=SUFFIXES, without=(_RECORD,))[:12]
