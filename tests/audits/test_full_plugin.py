"""``pytest audits/ -m gpu`` from outside: one line without a device, one error without models, pages, progress."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from audits import full_plugin
from audits.full_models import FullSettings
from fixtures.checkpoints import make_llada_checkpoint, make_phi_checkpoint
from protocols.measure import Status
from specref_core.accelerators import has_driver
from specref_core.generator import Budget

ROOT = Path(__file__).resolve().parents[2]
no_driver = pytest.mark.skipif(has_driver(), reason="a CUDA driver is installed here, so a device may be too")


def audit(*arguments, module="", **environment):
    """Run the gpu audits and return exit code and output."""
    command = [sys.executable, "-m", "pytest", str(ROOT / "audits" / module), "-m", "gpu", "-p", "no:cacheprovider"]
    done = subprocess.run(
        [*command, *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, "COLUMNS": "400", "OMP_NUM_THREADS": "1", **environment},
        timeout=250,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


@no_driver
def test_without_a_device_all_skip_with_one_line():
    code, output = audit()
    assert code == 0, output
    assert output.count("SKIPPED [") == 1
    assert "no CUDA device here" in output
    assert "specref rehearse" in output
    last = output.strip().splitlines()[-1]
    assert "failed" not in last
    assert "passed" not in last


def test_models_and_data_that_cannot_be_reached_are_told_in_one_error(tmp_path):
    code, output = audit(
        *("--device", "cpu", "--data-dir", tmp_path, "--benchmark", "bbh", "--refiner", tmp_path / "absent"),
        HF_HUB_OFFLINE="1",
        HF_HOME=str(tmp_path),
    )
    assert code == pytest.ExitCode.USAGE_ERROR
    assert output.count("ERROR:") == 1
    assert "hf download microsoft/phi-2" in output
    assert f"refiner {tmp_path / 'absent'}: no such directory" in output
    assert f"to {tmp_path}/bbh/boolean_expressions.json" in output
    assert "Traceback" not in output


def test_a_damaged_checkpoint_ends_the_run_once_by_its_name(tmp_path):
    make_phi_checkpoint(tmp_path / "drafter")
    make_llada_checkpoint(tmp_path / "refiner")
    lost = max((tmp_path / "refiner").glob("model-*.safetensors"))
    lost.unlink()
    (tmp_path / "bbh").mkdir()
    shutil.copyfile(ROOT / "fixtures" / "problems" / "bbh.json", tmp_path / "bbh" / "boolean_expressions.json")
    code, output = audit(
        *("--device", "cpu", "--data-dir", tmp_path, "--benchmark", "bbh", "--ledger", tmp_path / "ledger"),
        *("--drafter", tmp_path / "drafter", "--refiner", tmp_path / "refiner"),
        module="test_step_sensitivity.py",
    )
    assert code == pytest.ExitCode.USAGE_ERROR
    assert lost.name in output
    assert output.count("the full models cannot be loaded") == 1
    assert "refiner passes" in output  # the estimate came before the models
    assert not (tmp_path / "ledger").exists()


def test_the_usual_run_knows_nothing_of_the_full_models():
    command = [sys.executable, "-m", "pytest", str(ROOT / "audits"), "--collect-only", "-q", "-p", "no:cacheprovider"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=250, check=False)
    assert "nano-" in done.stdout
    assert "full-" not in done.stdout
    assert "test_full_models" not in done.stdout


class Config:
    """As much of pytest's configuration as the options need."""

    def __init__(self, **given):
        self.given = {
            **dict.fromkeys(
                ("drafter", "refiner", "dtype", "device", "backend", "drafter_quantization", "refiner_quantization")
            ),
            **dict.fromkeys(("max_new_tokens", "batch_size", "steps", "paper_tables", "post_processing")),
            "revision": [],
            "set": [],
            "chat": False,
            "markexpr": "gpu",
            "ledger": None,
            "--benchmark": [],
            **given,
        }
        self.stash = pytest.Stash()
        self.pluginmanager = SimpleNamespace(register=lambda *_: None, get_plugin=lambda _name: None)

    def getoption(self, name):
        return self.given[name] if name in self.given else self.given[name.removeprefix("--").replace("-", "_")]


class TestOptions:
    def test_without_options_the_settings_are_the_papers(self):
        config = Config()
        full_plugin.pytest_configure(config)
        assert full_plugin.settings_of(config) == FullSettings()

    def test_options_become_settings(self):
        config = Config(
            drafter="d", refiner="r", steps="64,16", dtype="float16", device="cuda:1", chat=True, batch_size=3
        )
        config.given |= {
            "revision": ["refiner=abc"],
            "set": ["k=40"],
            "max_new_tokens": 99,
            "post_processing": "extract",
        }
        full_plugin.pytest_configure(config)
        assert full_plugin.settings_of(config) == FullSettings(
            drafter="d",
            refiner="r",
            steps=(16, 64),
            dtype="float16",
            device="cuda:1",
            chat=True,
            post_processing="extract",
            batch_size=3,
            refiner_revision="abc",
            overrides=(("k", 40),),
            max_new_tokens=99,
        )

    @pytest.mark.parametrize(
        ("given", "named"),
        [
            ({"steps": "8,x"}, "steps"),
            ({"dtype": "half"}, "half"),
            ({"revision": ["judge=a"]}, "judge"),
            ({"set": ["k"]}, "NAME=VALUE"),
            ({"paper_tables": Path("no/such/folder/page")}, "no/such/folder"),
            ({"ledger": Path("no/such/folder/ledger")}, "no/such/folder"),
            ({"markexpr": "", "drafter": "d"}, "--drafter: for the full models only"),
            ({"markexpr": "slow", "steps": "8", "chat": True}, "--steps, --chat: for the full models only"),
        ],
    )
    def test_options_that_cannot_be_used_are_refused_before_anything_starts(self, given, named):
        with pytest.raises(pytest.UsageError, match=named):
            full_plugin.pytest_configure(Config(**given))

    def test_a_run_without_gpu_audits_reads_no_settings(self):
        config = Config(markexpr="")
        full_plugin.pytest_configure(config)
        with pytest.raises(KeyError):
            full_plugin.settings_of(config)

    @pytest.mark.parametrize("text", ["0", "-1", "x", "1.5"])
    def test_counts_are_positive(self, text):
        with pytest.raises(ValueError, match=re.escape(text)):
            full_plugin._positive(text)

    @pytest.mark.parametrize(
        ("expression", "wanted"), [("gpu", True), ("", False), ("slow", False), ("gpu or slow", True)]
    )
    def test_only_an_expression_about_gpu_asks_for_the_full_models(self, expression, wanted):
        assert full_plugin.wanted(Config(markexpr=expression)) is wanted

    def test_benchmarks_are_the_papers_seven_or_those_named(self):
        assert len(full_plugin.full_benchmarks(Config())) == 7
        named = Config(**{"--benchmark": ["hellaswag", "nano-code", "gsm8k"]})
        assert full_plugin.full_benchmarks(named) == ("gsm8k", "hellaswag")

    @pytest.mark.parametrize("given", ["page", "page.md", "page.json"])
    def test_a_page_is_two_files(self, given, tmp_path):
        assert full_plugin.page_paths(tmp_path / given) == (tmp_path / "page.md", tmp_path / "page.json")


@pytest.mark.parametrize(("source", "names"), [("nano", ["source"]), ("full", ["source", "gpu", "timeout"])])
def test_only_the_full_models_need_a_device_and_have_no_time_limit(source, names):
    from audits.live_plugin import _marks

    marks = [decorator.mark for decorator in _marks(source)]
    assert [mark.name for mark in marks] == names
    assert [mark.args for mark in marks if mark.name == "timeout"] == [(0,)] * names.count("timeout")


class TestHeartbeat:
    def test_one_line_a_minute_with_what_is_left(self, monkeypatch):
        now, told = [0.0], []
        monkeypatch.setattr(full_plugin.time, "monotonic", lambda: now[0])
        beat = full_plugin._Heartbeat(told.append)
        budget = Budget(steps=8)
        for done in range(0, 101, 10):
            beat("refiner", "gsm8k", Status(budget, done, done // 2, 100))
            now[0] += 30
        assert len(told) == 5
        assert "gsm8k refiner S=8: 20 of 100 problems, 10 right, 4 minutes left" in told[0]
        beat("refiner", "math", Status(budget, 90, 0, 100))  # another cell, most of it from the ledger
        now[0] += 100
        beat("refiner", "math", Status(budget, 90, 0, 100))
        assert len(told) == 5  # nothing done here yet, so no pace to tell


class TestPage:
    def test_the_page_is_written_from_the_reports(self, tmp_path):
        from audits.paper_tables import compare, places, plain
        from tests.audits.test_paper_tables import scores

        config = Config(paper_tables=tmp_path / "page")
        full_plugin.pytest_configure(config)
        page = full_plugin._Page(config)
        cell = plain(compare(places("gsm8k", (8,))[0], scores(1, 4)))
        verdict = {"claim": "c", "system": "s", "benchmark": "b", "outcome": "inconclusive", "effect": None}
        verdict |= {"low": None, "high": None, "n": 4, "reason": "few", "unit": "points"}
        properties = [
            (full_plugin.CELL, cell),
            ("specref-verdict", {**verdict, "source": "full"}),
            ("specref-verdict", {**verdict, "source": "nano"}),
        ]
        page.pytest_runtest_logreport(SimpleNamespace(when="setup", user_properties=properties))
        assert not page.cells
        page.pytest_runtest_logreport(SimpleNamespace(when="call", user_properties=properties))
        page.pytest_sessionfinish()
        data = json.loads((tmp_path / "page.json").read_text(encoding="utf-8"))
        assert data["schema"] == full_plugin.SCHEMA
        assert data["cells"] == [cell]
        assert len(data["verdicts"]) == 1  # the other is another source's
        text = (tmp_path / "page.md").read_text(encoding="utf-8")
        assert "GSM8K, Phi-2 (draft)" in text
        assert "not the paper's models" not in text

    def test_other_models_are_told(self, tmp_path):
        config = Config(paper_tables=tmp_path / "page.md", drafter="/models/mine")
        full_plugin.pytest_configure(config)
        page = full_plugin._Page(config)
        page.latencies = []
        page.pytest_sessionfinish()
        assert not (tmp_path / "page.md").exists()  # nothing was measured
        from audits.paper_tables import latency, plain

        page.latencies = [plain(latency("gsm8k", 64, [2.0, 2.1], [1.0, 1.1]))]
        page.pytest_sessionfinish()
        assert "not the paper's models" in (tmp_path / "page.md").read_text(encoding="utf-8")
