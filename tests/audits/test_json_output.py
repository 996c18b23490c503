"""JSON files appear whole or not at all."""

from __future__ import annotations

import json
import stat

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
