"""Result files: the target is checked before the work, and the file appears whole or not at all."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from specref_core.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping


def check_target(path: Path, *, source: Path | None = None, what: str = "JSON") -> None:
    """Refuse a file that could not be written, before anything is computed.

    Args:
        path: the file to write.
        source: a file that is read, which must not be overwritten.
        what: is to be written, for the error's text.

    Raises:
        InputError: the path is a folder or ``source``, or its folder is missing or not writable.
    """
    if source is not None and _same(path, source):
        raise InputError(f"{path} is the file that is read; name another one for the {what}")
    if path.is_dir():
        raise InputError(f"{path} is a folder; name a file for the {what}")
    if _written_in_place(path):
        if not os.access(path, os.W_OK):
            raise InputError(f"{path} cannot be written: no permission")
        return
    folder = path.resolve().parent
    if not folder.is_dir():
        raise InputError(f"{path} cannot be written: folder {folder} does not exist")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise InputError(f"{path} cannot be written: folder {folder} is not writable")


def write_json(path: Path, data: Mapping[str, object]) -> None:
    """Write data as JSON; see :func:`write_text`.

    Raises:
        InputError: the file cannot be written; the target is left as it was.
    """
    write_text(path, json.dumps(data, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def write_text(path: Path, text: str, *, what: str = "JSON") -> None:
    """Write a text through a temporary file beside the target; a link stays one, a device or pipe is written to.

    Raises:
        InputError: the file cannot be written; the target is left as it was.
    """
    check_target(path, what=what)
    temporary = None
    try:
        if _written_in_place(path):
            with path.open("w", encoding="utf-8", errors="backslashreplace") as stream:
                stream.write(text)
            return
        target = path.resolve()
        with tempfile.NamedTemporaryFile(
            "w", encoding="utf-8", errors="backslashreplace", dir=target.parent, prefix=f".{target.name}.", delete=False
        ) as file:
            temporary = Path(file.name)
            file.write(text)
        # Temporary files are private; a result is as readable as any other new file.
        mask = os.umask(0)
        os.umask(mask)
        temporary.chmod(0o666 & ~mask)
        temporary.replace(target)
    except OSError as error:
        if temporary is not None:
            temporary.unlink(missing_ok=True)
        raise InputError(f"{path} cannot be written: {error.strerror or error}") from error


def _written_in_place(path: Path) -> bool:
    """Whether the path is a device, a pipe or an open stream such as ``/dev/stdout``: those are never replaced."""
    inside = path.absolute().parts[1:2]
    return path.exists() and (not path.is_file() or inside in (("dev",), ("proc",)))


def _same(first: Path, second: Path) -> bool:
    if first.exists() and second.exists():
        return first.samefile(second)
    return first.resolve() == second.resolve()
