"""JSON files for other programs: the target is checked before the work, and the file appears whole or not at all."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from specref_core.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping


def check_target(path: Path) -> None:
    """Refuse a file that could not be written, before anything is computed.

    Raises:
        InputError: the path is a folder, or its folder is missing or not writable.
    """
    if path.is_dir():
        raise InputError(f"{path} is a folder; name a file for the JSON")
    folder = path.parent
    if not folder.is_dir():
        raise InputError(f"{path} cannot be written: folder {folder} does not exist")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise InputError(f"{path} cannot be written: folder {folder} is not writable")


def write_json(path: Path, data: Mapping[str, object]) -> None:
    """Write data as JSON through a temporary file beside the target.

    Raises:
        InputError: the file cannot be written; the target is left as it was.
    """
    check_target(path)
    text = json.dumps(data, indent=1, ensure_ascii=False, allow_nan=False)
    temporary = None
    try:
        with tempfile.NamedTemporaryFile(
            "w", encoding="utf-8", errors="backslashreplace", dir=path.parent, prefix=f".{path.name}.", delete=False
        ) as file:
            temporary = Path(file.name)
            file.write(text + "\n")
        # Temporary files are private; a result is as readable as any other new file.
        mask = os.umask(0)
        os.umask(mask)
        temporary.chmod(0o666 & ~mask)
        temporary.replace(path)
    except OSError as error:
        if temporary is not None:
            temporary.unlink(missing_ok=True)
        raise InputError(f"{path} cannot be written: {error.strerror or error}") from error
