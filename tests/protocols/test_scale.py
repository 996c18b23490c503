"""The arithmetic of a run on many GPUs: against a simulation, its laws, and the page that prints it."""

from __future__ import annotations

import heapq
import math
import re
import shlex
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from audits.cli import app
from protocols.scale import LLADA_8B, PHI_2, Estimate, HostRates, Plan, estimate, query_work
from specref_core.cost import ModelShape, forward_flops, generation_flops
from specref_core.errors import InputError

PAGE = Path(__file__).resolve().parents[2] / "docs" / "scale.md"
FAST_HOST = HostRates(judged=1e9, written=1e9, batches=1e9)


def plans(**fixed) -> st.SearchStrategy[Plan]:
    told = {
        "problems": st.integers(1, 5000),
        "gpus": st.integers(1, 64),
        "seconds_per_query": st.floats(0.01, 60),
        "samples_per_problem": st.integers(1, 4),
        "gpus_per_worker": st.sampled_from([0.25, 0.5, 1.0]),
        "batch_size": st.integers(1, 64),
        "load_seconds": st.floats(0, 600),
        "judges": st.integers(1, 8),
    }
    return st.builds(Plan, **{**told, **{name: st.just(value) for name, value in fixed.items()}})


def simulate(plan: Plan) -> float:
    """Seconds until the last of equal batches is done, each worker taking the next when it is free."""
    free = [plan.load_seconds] * plan.workers
    for _ in range(math.ceil(plan.samples / plan.batch_size)):
        heapq.heappush(free, heapq.heappop(free) + plan.batch_size * plan.seconds_per_query)
    return max(free)


class TestLaws:
    @given(plans())
    def test_full_batches_dealt_to_workers_end_when_the_formula_says(self, plan):
        told = estimate(plan, FAST_HOST).hours * 3600
        waited = simulate(plan)
        assert told <= waited * (1 + 1e-9)
        if plan.samples % plan.batch_size == 0:
            assert told == pytest.approx(waited)
        else:
            assert told >= waited - plan.batch_size * plan.seconds_per_query - 1e-6

    @given(plans(), st.integers(1, 64))
    def test_more_gpus_never_take_longer(self, plan, more):
        larger = Plan(**{**_as_dict(plan), "gpus": plan.gpus + more})
        assert estimate(larger).hours <= estimate(plan).hours * (1 + 1e-9)

    @given(plans(batch_size=1, gpus_per_worker=1.0))
    def test_generation_sets_the_pace_up_to_saturation_and_not_beyond(self, plan):
        told = estimate(plan)
        assert (told.bottleneck == "generating") == (plan.gpus <= told.saturates_at)

    @given(plans(), st.integers(1, 20))
    def test_lost_workers_cost_time_and_the_cost_is_told(self, plan, lost):
        unlucky = estimate(Plan(**{**_as_dict(plan), "lost_workers": lost}), FAST_HOST)
        assert unlucky.hours == pytest.approx(estimate(plan, FAST_HOST).hours + unlucky.retry_hours)

    @given(plans())
    def test_what_is_held_is_paid_and_no_more_than_all_of_it_generates(self, plan):
        told = estimate(plan)
        assert 0 < told.busy <= 1
        assert told.gpu_hours == pytest.approx(told.hours * plan.workers * plan.gpus_per_worker)
        assert told.gpu_hours * 3600 >= plan.samples * plan.seconds_per_query * plan.gpus_per_worker * (1 - 1e-6)

    def test_a_slow_host_sets_the_pace(self):
        plan = Plan(problems=1000, gpus=16, seconds_per_query=0.01, load_seconds=0)
        told = estimate(plan, HostRates(written=10.0))
        assert told.bottleneck == "writing"
        assert told.hours == pytest.approx(100 / 3600)


def _as_dict(plan: Plan) -> dict[str, object]:
    return {name: getattr(plan, name) for name in Plan.__dataclass_fields__}


class TestQueryWork:
    def test_the_shapes_are_the_papers_models(self):
        def parameters(shape: ModelShape, *, biases: int) -> int:
            width = shape.heads * shape.head_size
            attention = 2 * shape.width * width + 2 * shape.width * shape.kv_heads * shape.head_size
            layer = attention + shape.mlp_matrices * shape.width * shape.mlp_width
            return shape.layers * layer + 2 * shape.vocab * shape.width + biases

        norms = (2 * LLADA_8B.layers + 1) * LLADA_8B.width
        assert parameters(LLADA_8B, biases=norms) == 8_015_581_184
        assert parameters(PHI_2, biases=0) == pytest.approx(2.78e9, rel=0.002)

    @given(st.integers(1, 128), st.integers(1, 300), st.integers(1, 300), st.none() | st.floats(0, 1))
    def test_passes_are_bounded_and_work_grows_with_them(self, steps, prompt, generated, masked):
        work = query_work(steps=steps, prompt=prompt, generated=generated, masked=masked)
        assert 0 <= work.passes <= min(steps, generated)
        whole = forward_flops(LLADA_8B, length=prompt + generated)
        assert work.refine <= work.passes * whole * (1 + 1e-9)
        drafted = 0.0 if masked is None else generation_flops(PHI_2, prompt=prompt, generated=generated)
        assert work.draft == drafted

    def test_without_masks_only_the_draft_is_paid(self):
        assert query_work(steps=64, prompt=10, generated=20, masked=0.0).refine == 0

    def test_seconds_are_operations_over_what_the_worker_sustains(self):
        work = query_work(steps=64, prompt=100, generated=100, masked=0.6)
        assert work.seconds(sustained=work.draft + work.refine) == 1.0


class TestRefusals:
    @pytest.mark.parametrize(
        "wrong",
        [
            {"problems": 0},
            {"gpus": 0},
            {"gpus": math.inf},
            {"gpus": 1, "gpus_per_worker": 2},
            {"seconds_per_query": 0.0},
            {"seconds_per_query": math.nan},
            {"load_seconds": -1.0},
            {"judges": 0},
        ],
    )
    def test_a_plan_that_cannot_be(self, wrong):
        with pytest.raises(InputError):
            Plan(**{"problems": 10, "gpus": 2, "seconds_per_query": 1.0, **wrong})

    @pytest.mark.parametrize("wrong", [{"steps": 0}, {"masked": 1.5}, {"masked": math.nan}, {"prompt": 0}])
    def test_work_that_cannot_be(self, wrong):
        with pytest.raises(InputError):
            query_work(**{"steps": 8, "prompt": 10, "generated": 10, "masked": 0.5, **wrong})

    @pytest.mark.parametrize(
        ("arguments", "told"),
        [
            ((), "give either"),
            (("--seconds-per-query", "1", "--sustained-tflops", "1"), "give either"),
            (("--seconds-per-query", "-1"), "seconds_per_query=-1"),
            (("--sustained-tflops", "0"), "sustained=0"),
            (("--seconds-per-query", "1", "--gpus", "1", "--gpus-per-worker", "2"), "fewer than"),
            (("--seconds-per-query", "1", "--written-per-second", "0"), "written=0"),
        ],
    )
    def test_options_that_cannot_be(self, arguments, told):
        done = CliRunner().invoke(app, ["scale", *arguments])
        assert isinstance(done.exception, InputError), done.output
        assert told in str(done.exception)


class TestPage:
    EXAMPLES = re.findall(r"^\$ specref (scale [^\n]*)\n(.*?)^```", PAGE.read_text("utf-8"), re.MULTILINE | re.DOTALL)

    @pytest.mark.parametrize(("line", "printed"), EXAMPLES)
    def test_the_page_prints_what_the_command_prints(self, line, printed):
        done = CliRunner().invoke(app, shlex.split(line))
        assert done.exit_code == 0, done.output
        assert done.stdout == printed

    def test_there_are_examples(self):
        assert len(self.EXAMPLES) >= 3

    def test_the_tables_cells_are_the_estimates(self):
        rows = re.findall(
            r"^\| (16|32|64) \| ([\d.]+) \| ([\d.]+) h \| ([\d.]+) \| ([\d,]+) \|$", PAGE.read_text(), re.MULTILINE
        )
        assert len(rows) == 6
        for _, seconds, hours, gpu_hours, saturates in rows:
            told: Estimate = estimate(
                Plan(problems=10_000, gpus=16, gpus_per_worker=2, seconds_per_query=float(seconds))
            )
            assert (f"{told.hours:.2f}", f"{told.gpu_hours:.1f}") == (hours, gpu_hours)
            assert f"{told.saturates_at:,.0f}" == saturates

    def test_the_rates_on_the_page_are_the_defaults(self):
        told = HostRates()
        text = PAGE.read_text("utf-8")
        for rate in (told.judged, told.written, told.batches):
            assert f"**{rate:g}**" in text
