"""A SpecRef generator behind lm-evaluation-harness gives what it gives alone, and its likelihoods keep their error."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from specref_core.errors import GeneratorError, InputError
from specref_core.generator import Completion, LogLikelihood

ROOT = Path(__file__).resolve().parents[2]


def test_without_the_harness_the_error_says_what_to_install():
    program = "import sys; sys.modules['lm_eval'] = None; import protocols.lm_eval_adapter"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 1
    assert "pip install 'specref[harness]'" in done.stderr


def test_the_command_without_the_harness_says_what_to_install(monkeypatch):
    from audits.commands.lm_eval import lm_eval

    monkeypatch.setitem(sys.modules, "lm_eval", None)
    monkeypatch.delitem(sys.modules, "protocols.lm_eval_adapter", raising=False)
    with pytest.raises(InputError, match="pip install"):
        lm_eval(type("Context", (), {"args": []})())


class Toy:
    """Says the last word of its prompt, its seed and its budget; likes continuations that end in ``right``."""

    name = "toy"

    def fingerprint(self):
        return "toy-1"

    def generate(self, prompts, *, budget, seed):
        self.sizes = [*getattr(self, "sizes", []), len(prompts)]
        return [Completion(f" {p.split()[-1]}\nseed {seed} of {budget.max_new_tokens} STOP rest") for p in prompts]

    def log_likelihood(self, requests, *, monte_carlo, seed):
        self.requests = [*getattr(self, "requests", []), *requests]
        return [
            [
                LogLikelihood(-1.0 - 3 * (not c.endswith("right")) - seed, 0.5, monte_carlo.samples, 2)
                for c in r.continuations
            ]
            for r in requests
        ]


class Plain:
    name = "plain"

    def generate(self, prompts, **_budget_and_seed):
        return [Completion("") for _ in prompts]


GENERATOR_FILE = """
from specref_core.generator import Completion, LogLikelihood

class Toy:
    name = "toy"
    def generate(self, prompts, *, budget, seed):
        return [Completion(" " + prompt.split()[-1]) for prompt in prompts]
    def log_likelihood(self, requests, *, monte_carlo, seed):
        return [
            [LogLikelihood(-1.0 - (not c.endswith("right")), 0.1, 16, 2) for c in r.continuations] for r in requests
        ]

def make():
    return Toy()
"""


@pytest.fixture
def adapter():
    pytest.importorskip("lm_eval", reason="lm-evaluation-harness is not installed: pip install 'specref[harness]'")
    from protocols import lm_eval_adapter

    return lm_eval_adapter


def instances(kind: str, *arguments: tuple[object, ...]):
    from lm_eval.api.instance import Instance

    return [Instance(kind, {}, args, i) for i, args in enumerate(arguments)]


class TestGenerateUntil:
    def test_texts_come_in_order_cut_at_the_first_stop(self, adapter):
        lm = adapter.SpecRefLM(Toy(), batch_size=2)
        asked = instances(
            "generate_until",
            ("say a", {"until": ["STOP", "\n"]}),
            ("say b", {"until": "STOP"}),
            ("say c", {"until": [], "max_gen_toks": 9}),
            ("say d", {}),
        )
        assert lm.generate_until(asked) == [
            " a",
            " b\nseed 0 of 256 ",
            " c\nseed 0 of 9 STOP rest",
            " d\nseed 0 of 256 STOP rest",
        ]
        assert max(lm.generator.sizes) == 2

    def test_repeats_of_a_prompt_get_seeds_of_their_own(self, adapter):
        lm = adapter.SpecRefLM(Toy(), seed=5)
        texts = lm.generate_until(instances("generate_until", *[("say a", {"until": [" of"]})] * 3))
        assert texts == [f" a\nseed {seed}" for seed in (5, 6, 7)]


class TestLogLikelihood:
    def test_continuations_of_a_context_are_asked_together(self, adapter):
        lm = adapter.SpecRefLM(Toy(), mc=16)
        asked = instances("loglikelihood", ("q1", " right"), ("q2", " wrong"), ("q1", " wrong"), ("q2", " right"))
        assert lm.loglikelihood(asked) == [(-1.0, False), (-4.0, False), (-4.0, False), (-1.0, False)]
        assert [(r.context, r.continuations) for r in lm.generator.requests] == [
            ("q1", (" right", " wrong")),
            ("q2", (" wrong", " right")),
        ]

    def test_blanks_at_the_boundary_move_to_the_continuation(self, adapter):
        lm = adapter.SpecRefLM(Toy())
        lm.loglikelihood(instances("loglikelihood", ("Answer: ", "right")))
        assert lm.generator.requests[0].context == "Answer:"
        assert lm.generator.requests[0].continuations == (" right",)

    def test_the_stochastic_error_is_reported(self, adapter, tmp_path):
        lm = adapter.SpecRefLM(Toy(), likelihoods=str(tmp_path / "l.jsonl"))
        lm.loglikelihood(instances("loglikelihood", ("q", " right"), ("q", " wrong")))
        error = lm.get_model_info()["specref_likelihood_error"]
        assert (error["estimates"], error["mean_standard_error"], error["max_standard_error"]) == (2, 0.5, 0.5)
        assert 0 < error["expected_flips"] < 0.01
        rows = [json.loads(line) for line in (tmp_path / "l.jsonl").read_text().splitlines()]
        assert [(row["continuation"], row["value"], row["standard_error"]) for row in rows] == [
            (" right", -1.0, 0.5),
            (" wrong", -4.0, 0.5),
        ]

    def test_a_generator_without_likelihoods_is_told_the_method(self, adapter):
        with pytest.raises(InputError, match="log_likelihood"):
            adapter.SpecRefLM(Plain()).loglikelihood(instances("loglikelihood", ("q", " a")))

    def test_rolling_is_refused(self, adapter):
        with pytest.raises(InputError, match="perplexity"):
            adapter.SpecRefLM(Toy()).loglikelihood_rolling(instances("loglikelihood_rolling", ("text",)))


@pytest.mark.parametrize(
    ("arguments", "kind"),
    [
        ({"generator": "nowhere:make"}, InputError),
        ({"generator": object()}, GeneratorError),
        ({"generator": Toy(), "steps": 0}, InputError),
        ({"generator": Toy(), "mc": 10, "mc_batch": 4}, InputError),
        ({"generator": Toy(), "mc_scheme": "none"}, InputError),
        ({"generator": Toy(), "batch_size": "many"}, InputError),
        ({"generator": Toy(), "likelihoods": "no/such/folder/l.jsonl"}, InputError),
    ],
)
def test_bad_model_arguments(adapter, arguments, kind):
    with pytest.raises(kind):
        adapter.SpecRefLM(**arguments)


@pytest.fixture
def tasks(tmp_path: Path) -> Path:
    rows = [
        {"q": f"Question {i}", "choices": ["wrong", "right"], "gold": int(i % 4 > 0), "word": f"w{i}"} for i in range(8)
    ]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    data = f"dataset_path: json\ndataset_kwargs:\n  data_files: {{test: {tmp_path / 'rows.jsonl'}}}\ntest_split: test\n"
    (tmp_path / "choice.yaml").write_text(
        f"task: local_choice\n{data}output_type: multiple_choice\ndoc_to_text: '{{{{q}}}}'\n"
        "doc_to_choice: '{{choices}}'\ndoc_to_target: '{{gold}}'\n"
        "metric_list:\n  - {metric: acc, aggregation: mean, higher_is_better: true}\n"
    )
    (tmp_path / "say.yaml").write_text(
        f"task: local_say\n{data}output_type: generate_until\ndoc_to_text: 'Say {{{{word}}}}'\n"
        "doc_to_target: ' {{word}}'\ngeneration_kwargs: {until: [\"\\n\"], max_gen_toks: 12}\n"
        "metric_list:\n  - {metric: exact_match, aggregation: mean, higher_is_better: true}\n"
    )
    return tmp_path


@pytest.mark.slow
class TestHarness:
    def test_simple_evaluate_on_local_tasks(self, adapter, tasks, monkeypatch):
        monkeypatch.setenv("HF_DATASETS_CACHE", str(tasks / "cache"))
        from lm_eval import simple_evaluate
        from lm_eval.tasks import TaskManager

        found = simple_evaluate(
            model=adapter.SpecRefLM(Toy()),
            tasks=["local_choice", "local_say"],
            task_manager=TaskManager(include_path=str(tasks), include_defaults=False),
            bootstrap_iters=0,
        )
        assert found["results"]["local_choice"]["acc,none"] == 6 / 8
        assert found["results"]["local_say"]["exact_match,none"] == 1.0

    def test_the_command_line_knows_the_model(self, adapter, tasks):
        del adapter
        (tasks / "toy_generator.py").write_text(GENERATOR_FILE)
        command = [sys.executable, "-m", "protocols.lm_eval_adapter", "--model", "specref"]
        command += ["--model_args", "generator=toy_generator.py:make,mc=16", "--tasks", "local_choice,local_say"]
        command += ["--include_path", str(tasks), "--output_path", "out"]
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "HF_DATASETS_CACHE": str(tasks / "cache")}
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, cwd=tasks, env=environment, timeout=240
        )
        assert done.returncode == 0, done.stderr
        (written,) = (tasks / "out").rglob("results_*.json")
        told = json.loads(written.read_text())
        assert told["results"]["local_choice"]["acc,none"] == 6 / 8
        assert told["config"]["specref_likelihood_error"]["estimates"] == 16
