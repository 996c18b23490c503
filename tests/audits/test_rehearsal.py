"""The rehearsal of the gpu path: whole, and with each kind of breakage."""

from __future__ import annotations

import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
from typer.testing import CliRunner

from audits import damaged_copies, rehearsal
from audits.cli import app
from audits.rehearsal import Rehearsal, Stage, UnsoundError
from fixtures.checkpoints import make_llada_checkpoint, make_phi_checkpoint
from specref_core.errors import InputError

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_whole_path_is_sound_and_leaves_what_was_asked_for(tmp_path):
    """On the records that ship, so that it is the same everywhere."""
    (tmp_path / "no data").mkdir()
    command = [sys.executable, "-c", "from audits.cli import main; main()", "rehearse"]
    done = subprocess.run(
        [*command, "--out", tmp_path / "out", "--data-dir", tmp_path / "no data", "--limit", "1"],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "400", "TMPDIR": str(tmp_path)},
        timeout=580,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "the gpu path is sound: 9 stages" in done.stdout
    assert "broken" not in done.stdout
    assert done.stderr == ""
    for name in ("paper-tables.md", "paper-tables.json", "audits.log", "full.ledger", "models/refiner/config.json"):
        assert (tmp_path / "out" / name).is_file(), name
    assert not (tmp_path / "out" / "damaged").exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["no data", "out"]


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("rehearsal")
    make_phi_checkpoint(folder / "drafter")
    make_llada_checkpoint(folder / "refiner")
    return folder


class TestDamage:
    def test_a_refusal_that_does_not_name_the_damage_is_told(self, models, tmp_path, monkeypatch):
        whole = {
            "nothing at all": (lambda _folder: None, ("x",)),
            "missing shard": (damaged_copies._lose_a_shard, ("zzz",)),
        }
        monkeypatch.setattr(damaged_copies, "DAMAGES", whole)
        refused, wrong = damaged_copies.refusals(models, tmp_path / "copies")
        assert refused == 0
        assert len(wrong) == 4
        assert wrong[0] == "drafter with nothing at all: loaded as if nothing were wrong"
        assert "safetensors" in wrong[1]
        assert not (tmp_path / "copies").exists()


class TestData:
    def test_public_files_are_taken_where_they_are_and_shipped_records_elsewhere(self, tmp_path):
        source = tmp_path / "source"
        (source / "gsm8k").mkdir(parents=True)
        (source / "gsm8k" / "test.jsonl").write_text('{"question": "q", "answer": "#### 1"}\n', encoding="utf-8")
        assert rehearsal.lay_out("gsm8k", source, tmp_path / "data")
        assert not rehearsal.lay_out("bbh", source, tmp_path / "data")
        assert not rehearsal.lay_out("mbpp", None, tmp_path / "data")
        assert "#### 1" in (tmp_path / "data" / "gsm8k" / "test.jsonl").read_text(encoding="utf-8")

    def test_every_benchmark_can_be_laid_out_from_what_ships(self, tmp_path):
        from protocols.loaders import load_problems

        for name in rehearsal._LAYOUT:
            rehearsal.lay_out(name, None, tmp_path)
            assert load_problems(name, data_dir=tmp_path)


class Scripted(Rehearsal):  # without slots, so that an instance can be given other stages
    """A rehearsal whose stages are written down."""

    def script(self, **stages):
        def work(outcome):
            if isinstance(outcome, Exception):
                raise outcome
            return outcome

        for name in ("machine", "prepare", "refusals", "backends", "protocols", "audits", "tables", "report", "again"):
            setattr(self, f"_{name}", partial(work, stages.get(name, "fine")))
        return self


class TestStages:
    def run(self, tmp_path, **stages):
        return {stage.name: stage for stage in Scripted(tmp_path).script(**stages).run()}

    def test_a_stage_that_breaks_does_not_hide_the_others(self, tmp_path):
        stages = self.run(tmp_path, refusals=UnsoundError("accepted"), protocols=ValueError("no"))
        assert len(stages) == 9
        assert [name for name, stage in stages.items() if not stage.sound] == ["damaged copies", "protocols"]
        assert stages["damaged copies"].told == "accepted"
        assert stages["protocols"].told == "ValueError: no"

    def test_what_needs_a_broken_stage_is_not_tried(self, tmp_path):
        assert list(self.run(tmp_path, prepare=OSError("full"))) == ["machine", "models and data"]
        assert list(self.run(tmp_path, audits=UnsoundError("x")))[-1] == "audits"

    def test_a_rehearsal_is_sound_only_when_every_stage_is(self, tmp_path):
        empty = Rehearsal(tmp_path)
        assert not empty.sound
        empty.stages.append(Stage("a", 0.0, True, ""))
        assert empty.sound
        empty.stages.append(Stage("b", 0.0, False, ""))
        assert not empty.sound


class TestChecks:
    def test_audits_that_break_are_named(self, tmp_path, monkeypatch):
        from audits.run_outcomes import Outcomes

        broken = Outcomes(outcomes={"t": "failed"}, failures={"t": "KeyError: 'x'"}, exit_code=1)
        monkeypatch.setattr(Rehearsal, "_pytest", lambda *_: broken)
        with pytest.raises(UnsoundError, match="1 of 1 audits broke: t: KeyError: 'x'"):
            Rehearsal(tmp_path)._audits()
        monkeypatch.setattr(Rehearsal, "_pytest", lambda *_: Outcomes(outcomes={"t": "skipped"}, verdicts={"t": 0}))
        with pytest.raises(UnsoundError, match="no audit came to a verdict"):
            Rehearsal(tmp_path)._audits()

    def test_missing_cells_are_named(self, tmp_path):
        (tmp_path / "paper-tables.md").write_text("Table 3", encoding="utf-8")
        (tmp_path / "paper-tables.json").write_text('{"cells": []}', encoding="utf-8")
        with pytest.raises(UnsoundError, match="cells missing"):
            Rehearsal(tmp_path)._tables()

    def test_a_second_run_that_measures_again_is_told(self, tmp_path, monkeypatch):
        from audits.run_outcomes import Outcomes

        ledger = tmp_path / "full.ledger"
        ledger.write_bytes(b"one")

        def run(*_):
            ledger.write_bytes(b"one more")
            return Outcomes(outcomes={"t": "passed"})

        monkeypatch.setattr(Rehearsal, "_pytest", run)
        with pytest.raises(UnsoundError, match="measured again"):
            Rehearsal(tmp_path)._again()

    def test_a_report_that_was_not_written_is_told(self, tmp_path):
        with pytest.raises(UnsoundError, match=r"report\.html was not written"):
            Rehearsal(tmp_path)._report()
        assert Rehearsal(tmp_path, report=False)._report() == "not asked for"


class TestCommand:
    def invoke(self, *arguments):
        return CliRunner().invoke(app, ["rehearse", *map(str, arguments)])

    @pytest.mark.parametrize(("sound", "code", "told"), [(True, 0, "is sound"), (False, 1, "is broken in: a stage")])
    def test_the_exit_code_says_whether_the_path_is_sound(self, monkeypatch, sound, code, told):
        def run(self):
            self.stages.append(Stage("a stage", 1.0, sound, "[told]"))
            self.say(self.stages[0])
            return self.stages

        monkeypatch.setattr(Rehearsal, "run", run)
        result = self.invoke()
        assert result.exit_code == code
        assert told in result.output
        assert "a stage: [told]" in result.output

    def test_nothing_is_left_behind(self, monkeypatch):
        folders = []
        monkeypatch.setattr(Rehearsal, "run", lambda self: folders.append(self.folder) or self.stages)
        self.invoke()
        assert not folders[0].exists()

    def test_options_that_cannot_be_used_are_refused(self, tmp_path):
        (tmp_path / "full").mkdir()
        (tmp_path / "full" / "file").touch()
        for arguments, named in (
            (("--out", tmp_path / "full"), "empty folder"),
            (("--out", tmp_path / "full" / "file"), "empty folder"),
            (("--data-dir", tmp_path / "absent"), "does not exist"),
            (("--steps", "2,x"), "steps"),
            (("--device", "gpu0"), "gpu0"),
            (("--device", "cuda:77"), "no such device"),
            (("--dtype", "half"), "half"),
        ):
            result = self.invoke(*arguments)
            assert isinstance(result.exception, InputError), arguments
            assert named in f"{result.exception} {result.output}"
