"""JSON files appear whole or not at all."""

from __future__ import annotations

import json
import os
import stat
import threading

import pytest

from audits.json_output import check_target, write_json
from specref_core.errors import InputError


def test_round_trip_with_any_text(tmp_path):
    path = tmp_path / "out.json"
    data = {"text": "é \u2028 \x00", "numbers": [1, 2.5, None, True]}
    write_json(path, data)
    assert json.loads(path.read_text(encoding="utf-8")) == data


def test_permissions_are_those_of_a_new_file(tmp_path):
    write_json(tmp_path / "a.json", {})
    (tmp_path / "b.json").touch()
    modes = [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("a.json", "b.json")]
    assert modes[0] == modes[1]


def test_failure_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "out.json"
    path.write_text("old", encoding="utf-8")
    with pytest.raises(ValueError, match="JSON"):
        write_json(path, {"x": float("nan")})
    assert path.read_text(encoding="utf-8") == "old"
    assert [file.name for file in tmp_path.iterdir()] == ["out.json"]


def test_targets_that_cannot_be_written_are_named(tmp_path):
    with pytest.raises(InputError, match="is a folder"):
        check_target(tmp_path)
    with pytest.raises(InputError, match="does not exist"):
        check_target(tmp_path / "no" / "out.json")
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="does not exist"):
        check_target(tmp_path / "file" / "out.json")


def test_what_is_read_is_not_a_target(tmp_path):
    source = tmp_path / "in.csv"
    source.touch()
    os.link(source, tmp_path / "hard")
    (tmp_path / "soft").symlink_to(source)
    for name in ("in.csv", "hard", "soft"):
        with pytest.raises(InputError, match="is the file that is read"):
            check_target(tmp_path / name, source=source)
    with pytest.raises(InputError, match="is the file that is read"):
        check_target(tmp_path / "new", source=tmp_path / "." / "new")
    check_target(tmp_path / "other", source=source)


def test_a_link_stays_one(tmp_path):
    (tmp_path / "link.json").symlink_to(tmp_path / "real.json")
    write_json(tmp_path / "link.json", {"a": 1})
    assert (tmp_path / "link.json").is_symlink()
    assert json.loads((tmp_path / "real.json").read_text(encoding="utf-8")) == {"a": 1}


def test_a_pipe_is_written_to_and_not_replaced(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    read: list[str] = []
    reader = threading.Thread(target=lambda: read.append(pipe.read_text(encoding="utf-8")), daemon=True)
    reader.start()
    check_target(pipe)
    write_json(pipe, {"a": 1})
    reader.join(timeout=10)
    assert json.loads(read[0]) == {"a": 1}
    assert stat.S_ISFIFO(pipe.stat().st_mode)
