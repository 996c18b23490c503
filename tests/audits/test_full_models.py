"""Settings of the full models, what can be reached, and how the pair is opened."""

from __future__ import annotations

import json
import shutil

import pytest

from audits import full_models as full
from audits.full_models import FullSettings
from fixtures.checkpoints import make_llada_checkpoint, make_phi_checkpoint
from specref_core.errors import CheckpointError, InputError


class TestSettings:
    def test_the_defaults_are_the_papers(self):
        settings = FullSettings()
        assert (settings.drafter, settings.refiner) == ("microsoft/phi-2", "GSAI-ML/LLaDA-8B-Instruct")
        assert settings.steps == (8, 16, 32, 64)
        assert sum(map(len, full.BENCHMARKS.values())) == 7

    def test_every_setting_is_in_the_description(self):
        told = FullSettings(refiner_revision="abc", overrides=(("k", 40),)).describe()
        for part in ("drafter=microsoft/phi-2", "refiner_revision=abc", "steps=8,16,32,64", "chat=False", "k=40"):
            assert part in told
        assert "drafter_revision" not in told  # not given

    @pytest.mark.parametrize(
        ("wrong", "named"),
        [
            ({"dtype": "half"}, "dtype 'half'"),
            ({"backend": "tgi"}, "backend 'tgi'"),
            ({"drafter_quantization": "3bit"}, "drafter quantization '3bit'"),
            ({"refiner_quantization": "3bit"}, "refiner quantization '3bit'"),
            ({"post_processing": "tidy"}, "post-processing 'tidy'"),
            ({"device": "gpu0"}, "device 'gpu0'"),
            ({"device": "cuda:"}, "device 'cuda:'"),
            ({"steps": ()}, "steps"),
            ({"steps": (8, 8)}, "each once"),
            ({"steps": (16, 8)}, "rising"),
            ({"steps": (0,)}, "at least 1"),
            ({"max_new_tokens": 0}, "max_new_tokens"),
            ({"batch_size": 0}, "batch_size"),
        ],
    )
    def test_what_cannot_be_used_is_named(self, wrong, named):
        with pytest.raises(InputError, match=named):
            FullSettings(**wrong)

    @pytest.mark.parametrize(
        ("text", "steps"), [("8,16,32,64", (8, 16, 32, 64)), ("64, 8", (8, 64)), ("4", (4,)), (" 2 ,3", (2, 3))]
    )
    def test_steps_are_read_in_any_order(self, text, steps):
        assert full.parse_steps(text) == steps

    @pytest.mark.parametrize("text", ["", "8,", "a", "8;16", "-8", "0", "8,8", "8.5", "²"])
    def test_steps_that_are_none_are_refused(self, text):
        with pytest.raises(InputError, match="steps"):
            full.parse_steps(text)

    @pytest.mark.parametrize(
        ("given", "found"),
        [
            ([], (None, None)),
            (["main"], ("main", "main")),
            (["drafter=a"], ("a", None)),
            (["refiner=b", "drafter=a"], ("a", "b")),
        ],
    )
    def test_revisions(self, given, found):
        assert full.parse_revisions(given) == found

    @pytest.mark.parametrize("given", [["judge=a"], ["drafter="], [""], ["a", "b"], ["a", "refiner=b"], ["=a"]])
    def test_revisions_of_nothing_or_twice_are_refused(self, given):
        with pytest.raises(InputError, match="revision"):
            full.parse_revisions(given)

    def test_further_settings_are_json_or_text(self):
        found = dict(full.parse_overrides(["k=40", "math=false", "how=max", 'backend_options={"devices": 2}']))
        assert found == {"k": 40, "math": False, "how": "max", "backend_options": {"devices": 2}}

    @pytest.mark.parametrize("given", ["k", "=4", "k=", "a-b=4"])
    def test_further_settings_without_name_or_value_are_refused(self, given):
        with pytest.raises(InputError, match="NAME=VALUE"):
            full.parse_overrides([given])


class TestDevice:
    def test_without_cuda_the_reason_names_a_way_out(self, monkeypatch):
        monkeypatch.setattr(full, "cuda_devices", lambda: ())
        reason = full.missing_device("auto")
        assert reason is not None
        assert "specref rehearse" in reason
        assert "\n" not in reason
        assert full.missing_device("cpu") is None

    def test_a_driver_that_torch_cannot_use_is_told(self, monkeypatch):
        monkeypatch.setattr(full, "cuda_devices", lambda: ())
        monkeypatch.setattr(full, "has_driver", lambda: True)
        assert "CPU build of torch" in str(full.missing_device("auto"))

    def test_with_cuda_nothing_is_missing(self, monkeypatch):
        monkeypatch.setattr(full, "cuda_devices", lambda: ("card",))
        assert full.missing_device("auto") is None
        assert full.absent_device("cuda") is None
        assert full.absent_device("cuda:0") is None
        assert "cuda:0 (card)" in str(full.absent_device("cuda:1"))
        assert full.absent_device("cpu") is None

    @pytest.mark.parametrize(
        ("devices", "installed", "backend", "bits"),
        [
            ((), True, "transformers", None),
            (("card",), True, "vllm", "4bit"),
            (("card",), False, "transformers", None),
        ],
    )
    def test_the_papers_backend_and_bits_where_they_can_be_had(self, monkeypatch, devices, installed, backend, bits):
        monkeypatch.setattr(full, "cuda_devices", lambda: devices)
        monkeypatch.setattr(full, "find_spec", lambda _name: object() if installed else None)
        settings = FullSettings()
        assert full.backend_of(settings) == backend
        assert full.quantization_of(settings) == (bits, None)
        on_cpu = FullSettings(device="cpu")
        assert full.backend_of(on_cpu) == "transformers"
        assert full.quantization_of(on_cpu) == (None, None)

    def test_what_is_named_by_hand_is_taken(self):
        named = FullSettings(backend="vllm", drafter_quantization="8bit", refiner_quantization="4bit")
        assert full.backend_of(named) == "vllm"
        assert full.quantization_of(named) == ("8bit", "4bit")
        assert full.backend_of(FullSettings(drafter="vllm:microsoft/phi-2")) == "vllm"


class TestReach:
    def test_a_directory_is_reached_without_asking_anybody(self, tmp_path, monkeypatch):
        monkeypatch.setattr("protocols.loaders.hub_answers", lambda: pytest.fail("the hub was asked"))
        for name in ("d", "r"):
            (tmp_path / name).mkdir()
            (tmp_path / name / "config.json").write_text("{}", encoding="utf-8")
        assert full.unreachable(FullSettings(drafter=str(tmp_path / "d"), refiner=str(tmp_path / "r"))) == []

    def test_both_models_are_told_at_once(self, tmp_path, monkeypatch):
        monkeypatch.setenv("HF_HUB_OFFLINE", "1")
        (tmp_path / "empty").mkdir()
        told = full.unreachable(FullSettings(drafter=str(tmp_path / "empty"), refiner=str(tmp_path / "absent")))
        assert len(told) == 2
        assert "no config.json" in told[0]
        assert "no such directory" in told[1]

    @pytest.mark.parametrize("offline", [True, False])
    def test_a_hub_name_that_cannot_be_had_says_what_to_download(self, monkeypatch, offline):
        monkeypatch.setenv("HF_HUB_OFFLINE", "1" if offline else "0")
        monkeypatch.setattr("protocols.loaders.hub_answers", lambda: False)
        monkeypatch.setattr(full, "_cached", lambda _place, _revision: False)
        told = full.unreachable(FullSettings())
        assert len(told) == 2
        assert "hf download microsoft/phi-2 --local-dir DIR, and give --drafter DIR" in told[0]
        assert "16 GB" in told[1]
        assert ("HF_HUB_OFFLINE" in told[0]) is offline

    def test_a_revision_that_the_hub_has_not_is_named(self, monkeypatch):
        def locate(place, *, revision):
            raise CheckpointError(f"{place}: no {revision}\nmore")

        monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
        monkeypatch.setattr("protocols.loaders.hub_answers", lambda: True)
        monkeypatch.setattr("specref_core.models.checkpoint.locate", locate)
        monkeypatch.setattr(full, "_cached", lambda _place, _revision: False)
        told = full.unreachable(FullSettings(drafter_revision="gone"))
        assert "at gone" in told[0]
        assert "\n" not in told[0]

    def test_missing_data_are_told_with_their_place_and_broken_ones_with_their_line(self, tmp_path, monkeypatch):
        monkeypatch.setattr("protocols.loaders.hub_answers", lambda: False)
        (tmp_path / "gsm8k").mkdir()
        (tmp_path / "gsm8k" / "test.jsonl").write_text('{"question": 1}\n', encoding="utf-8")
        names = ("humaneval", "gsm8k")
        loaded, missing = full.load_data(names, FullSettings(), limit=None, seed=0, data_dir=tmp_path)
        assert loaded == {}
        assert f"to {tmp_path}/humaneval/HumanEval.jsonl.gz" in missing[0]
        assert "test.jsonl" in missing[1]
        _, without_folder = full.load_data(("bbh",), FullSettings(), limit=None, seed=0, data_dir=None)
        assert without_folder[0].endswith("to DIR/bbh/boolean_expressions.json and give --data-dir DIR")

    def test_every_benchmark_has_a_place_that_its_loader_finds(self, tmp_path):
        from protocols.loaders import known_benchmark

        for name, (_, place) in full._FILES.items():
            (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / place).touch()
            assert next(tmp_path.glob(known_benchmark(name).local[0]), None) is not None, name
        assert set(full._FILES) == {name for names in full.BENCHMARKS.values() for name in names}


class TestData:
    def test_all_problems_unless_a_limit_is_given(self, tmp_path):
        rows = [{"question": f"q{i}", "answer": f"#### {i}"} for i in range(9)]
        (tmp_path / "gsm8k").mkdir()
        (tmp_path / "gsm8k" / "test.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
        settings = FullSettings(max_new_tokens=7)
        for limit, n in ((None, 9), (0, 9), (4, 4), (99, 9)):
            loaded, missing = full.load_data(("gsm8k",), settings, limit=limit, seed=0, data_dir=tmp_path)
            assert not missing
            assert len(loaded["gsm8k"].problems) == n
            assert loaded["gsm8k"].max_new_tokens == 7

    def test_mbpp_is_its_test_split(self, tmp_path):
        rows = [
            {"task_id": i, "text": "t", "code": "def f(): return 1", "test_list": ["assert f() == 1"]}
            for i in range(1, 975)
        ]
        (tmp_path / "mbpp.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
        loaded = full.load_full_benchmark("mbpp", limit=None, seed=0, data_dir=tmp_path, max_new_tokens=None)
        numbers = [int(p.task_id.rpartition("/")[2]) for p in loaded.problems]
        assert numbers == list(range(11, 511))
        (tmp_path / "mbpp.jsonl").write_text("\n".join(map(json.dumps, rows[600:700])), encoding="utf-8")
        others = full.load_full_benchmark("mbpp", limit=None, seed=0, data_dir=tmp_path, max_new_tokens=None)
        assert len(others.problems) == 100  # some other selection of theirs is taken as it is


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pair")
    make_phi_checkpoint(folder / "drafter")
    make_llada_checkpoint(folder / "refiner")
    return folder


class TestOpening:
    def settings(self, pair, **more):
        return FullSettings(
            drafter=str(pair / "drafter"), refiner=str(pair / "refiner"), device="cpu", dtype="float32", **more
        )

    def test_the_pair_runs_with_the_settings_given(self, pair):
        opened = full.open_pair(self.settings(pair, chat=True, overrides=(("k", 30), ("slack", 2))))
        assert opened.policy.k == 30
        assert opened.refiner.settings.slack == 2
        assert opened.refiner.settings.chat
        assert not full.open_pair(self.settings(pair)).refiner.settings.chat

    def test_a_setting_that_there_is_not_is_refused(self, pair):
        with pytest.raises(InputError, match="nonsense"):
            full.open_pair(self.settings(pair, overrides=(("nonsense", 1),)))

    def test_a_damaged_directory_is_refused_by_name(self, pair, tmp_path):
        shutil.copytree(pair, tmp_path / "pair")
        lost = max((tmp_path / "pair" / "refiner").glob("model-*.safetensors"))
        lost.unlink()
        with pytest.raises(CheckpointError, match=lost.name):
            full.open_pair(self.settings(tmp_path / "pair"))

    def test_a_system_measures_the_problems_it_was_given(self, pair, tmp_path):
        from protocols.problems import AnswerProblem

        problems = tuple(AnswerProblem("gsm8k", f"t/{i}", f"Question: {i}\nAnswer:", str(i)) for i in range(2))
        benchmark = full.LiveBenchmark("gsm8k", problems, 6)
        system = full.full_system(
            self.settings(pair, steps=(2, 3)), {"gsm8k": benchmark}, ledger=tmp_path / "l", limit=2, seed=0
        )
        seen = []
        system.progress = lambda role, name, status: seen.append((role, name, status.done, status.planned))
        scores = system.measure("pipeline", "gsm8k", system.fewest)
        assert scores.n == 2
        assert (system.fewest, system.most, system.source) == (2, 3, "full")
        assert seen[-1] == ("pipeline", "gsm8k", 2, 2)
