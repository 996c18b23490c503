"""The paper's tables beside a run's own: which cells there are, what is compared, and what is concluded."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audits import paper_tables as tables
from audits.paper_tables_page import markdown
from audits.statistics import wilson
from audits.verdicts import Outcome
from fixtures.published import specref_scores
from protocols.score import Failure, Score
from protocols.scores import SampleScore, Scores
from protocols.signature import Signature
from specref_core.errors import InputError
from specref_core.generator import Budget

STEPS = (8, 16, 32, 64)


def scores(correct, n, *, steps=None):
    verdicts = [Score(i < correct, None if i < correct else Failure.WRONG_ANSWER) for i in range(n)]
    samples = tuple(SampleScore(f"t/{i}", 0, "", verdict) for i, verdict in enumerate(verdicts))
    return Scores("s", "b", Budget(steps=steps), samples, n, Signature.of(system="s", n=n))


def cell(benchmark, role, steps, correct, n):
    place = next(p for p in tables.places(benchmark, STEPS) if (p.role, p.steps) == (role, steps))
    return tables.compare(place, scores(correct, n, steps=steps))


class TestPlaces:
    def test_all_rows_together_are_the_51_published_cells_once_each(self):
        places = [place for name in tables.ROWS for place in tables.places(name, STEPS)]
        assert sorted(str(place.published) for place in places) == sorted(map(str, specref_scores()))

    def test_other_step_counts_have_cells_without_a_published_one(self):
        found = tables.places("gsm8k", (2, 64))
        assert [(p.role, p.steps, p.published is None) for p in found] == [
            ("drafter", None, False),
            ("refiner", 2, True),
            ("refiner", 64, False),
            ("pipeline", 2, True),
            ("pipeline", 64, False),
        ]
        assert [p.label for p in found] == ["Phi-2 (draft)", "LLaDA S=2", "LLaDA S=64", "SpecRef S=2", "SpecRef S=64"]

    def test_likelihoods_have_no_steps(self):
        assert [(p.role, p.steps, p.table) for p in tables.places("hellaswag", (2,))] == [
            ("drafter", None, 2),
            ("refiner", None, 2),
            ("pipeline", None, 2),
        ]

    def test_a_benchmark_without_a_row_is_refused(self):
        with pytest.raises(InputError, match="nano-code"):
            tables.places("nano-code", STEPS)


class TestCompare:
    def test_a_published_value_is_inside_the_interval_measured_here(self):
        found = cell("gsm8k", "pipeline", 64, 716, 1319)  # 54.28 % of 1319
        assert found.printed == "54.28"
        assert found.inside
        assert found.possible
        assert found.published_n == found.n == 1319
        assert found.difference == pytest.approx(0, abs=0.01)
        assert not cell("gsm8k", "pipeline", 64, 600, 1319).inside

    def test_impossible_cells_are_marked(self):
        found = cell("humaneval", "refiner", 64, 14, 164)
        assert found.possible is False
        assert found.shown()["n (paper)"] == "164 (impossible)"

    def test_nothing_measured_is_an_error(self):
        with pytest.raises(InputError, match="nothing was measured"):
            cell("gsm8k", "drafter", None, 0, 0)

    def test_a_cell_that_the_paper_has_not(self):
        (place,) = [p for p in tables.places("gsm8k", (2,)) if p.role == "refiner"]
        found = tables.compare(place, scores(3, 9, steps=2))
        assert found.inside is None
        assert found.shown()["paper's is"] == "not measured there"

    @given(n=st.integers(1, 2000), share=st.floats(0, 1))
    def test_intervals_are_those_of_the_statistics(self, n, share):
        correct = round(share * n)
        found = cell("mbpp", "drafter", None, correct, n)
        own = wilson(correct, n)
        assert (found.low, found.high) == (100 * own.low, 100 * own.high)
        assert found.low <= found.here <= found.high
        assert found.inside == (found.low <= 43.0 <= found.high)
        assert found.difference_low <= found.difference <= found.difference_high
        assert json.loads(json.dumps(tables.plain(found))) == tables.plain(found)


class TestVerdict:
    def row(self, pipeline, refiner, n):
        """Measure the two S=64 cells of GSM8K (54.28 and 44.81 in the paper) as shares of n problems."""
        return [
            cell("gsm8k", "pipeline", 64, round(pipeline * n), n),
            cell("gsm8k", "refiner", 64, round(refiner * n), n),
        ]

    @pytest.mark.parametrize(
        ("pipeline", "refiner", "n", "outcome"),
        [
            (0.5428, 0.4481, 20000, Outcome.REPRODUCED),
            (0.5428, 0.30, 1319, Outcome.NOT_REPRODUCED),
            (0.70, 0.4481, 1319, Outcome.NOT_REPRODUCED),
            (0.5428, 0.4481, 100, Outcome.INCONCLUSIVE),
            (0.50, 0.4481, 1319, Outcome.INCONCLUSIVE),
        ],
    )
    def test_every_cell_counts(self, pipeline, refiner, n, outcome):
        verdict = tables.as_published(self.row(pipeline, refiner, n), system="pair")
        assert verdict.outcome is outcome
        assert verdict.benchmark == "GSM8K"
        assert (verdict.n_needed is not None) == (outcome is Outcome.INCONCLUSIVE)

    def test_the_cell_that_is_surely_off_is_named_and_not_the_one_of_few_problems_far_away(self):
        sure, vague = cell("gsm8k", "refiner", 64, 400, 1319), cell("gsm8k", "pipeline", 64, 1, 4)
        verdict = tables.as_published([sure, vague], system="pair")
        assert verdict.outcome is Outcome.NOT_REPRODUCED
        assert "LLaDA S=64" in verdict.reason

    def test_more_cells_make_wider_intervals(self):
        one = tables.as_published(self.row(0.5428, 0.4481, 1319)[:1], system="pair")
        two = tables.as_published(self.row(0.5428, 0.4481, 1319), system="pair")
        assert two.high - two.low > one.high - one.low

    def test_without_published_cells_there_is_no_verdict(self):
        (place,) = [p for p in tables.places("gsm8k", (2,)) if p.role == "refiner"]
        assert tables.as_published([tables.compare(place, scores(3, 9))], system="pair") is None


class TestLatency:
    def test_the_papers_own_seconds_give_its_own_speedup(self):
        found = tables.latency("gsm8k", 64, [16.49, 16.48, 16.50], [6.79, 6.78, 6.80])
        assert found.speedup == pytest.approx(16.49 / 6.79)
        assert found.printed == ("16.49", "6.79", "2.43")
        assert found.inside
        assert not tables.latency("gsm8k", 64, [5.0, 5.1, 5.2], [6.79, 6.78, 6.80]).inside

    def test_one_query_has_no_interval_and_decides_nothing(self):
        found = tables.latency("gsm8k", 64, [2.0], [1.0])
        assert found.inside is None
        assert math.isinf(found.speedup_high)
        assert tables.plain(found)["speedup_high"] is None
        assert "no upper end" in found.shown()["speed-up, 95 %"]

    def test_a_row_that_the_paper_has_not(self):
        assert tables.latency("gsm8k", 8, [2.0, 2.1], [1.0, 1.1]).inside is None
        assert tables.latency("bbh", 64, [2.0, 2.1], [1.0, 1.1]).printed == ()

    @pytest.mark.parametrize(
        ("refiner", "pipeline"), [([], []), ([1.0], [1.0, 2.0]), ([0.0], [1.0]), ([math.nan], [1.0]), ([1.0], [-1.0])]
    )
    def test_times_that_are_none_are_refused(self, refiner, pipeline):
        with pytest.raises(InputError):
            tables.latency("gsm8k", 64, refiner, pipeline)

    @given(
        st.lists(st.tuples(st.floats(0.01, 100), st.floats(0.01, 100)), min_size=2, max_size=20),
        st.floats(0.1, 10),
    )
    def test_the_speedup_lies_in_its_interval_whatever_the_clock_counts_in(self, pairs, unit):
        refiner, pipeline = zip(*pairs, strict=True)
        found = tables.latency("gsm8k", 64, refiner, pipeline)
        assert found.speedup_low <= found.speedup * (1 + 1e-9)
        assert found.speedup <= found.speedup_high * (1 + 1e-9)
        other = tables.latency("gsm8k", 64, [unit * s for s in refiner], [unit * s for s in pipeline])
        assert other.speedup == pytest.approx(found.speedup)


class TestPage:
    def test_cells_stand_in_the_papers_order_with_all_they_rest_on(self):
        cells = [tables.plain(cell("mbpp", "drafter", None, 1, 4)), tables.plain(cell("gsm8k", "drafter", None, 2, 4))]
        timed = [tables.plain(tables.latency("gsm8k", 64, [2.0, 2.1], [1.0, 1.1]))]
        verdict = tables.as_published([cell("mbpp", "drafter", None, 1, 4)], system="a|b").as_dict()
        page = markdown(cells, timed, [verdict], about=["drafter=x", "a | b"])
        assert page.index("GSM8K, Phi-2") < page.index("MBPP, Phi-2")
        for part in (
            "- drafter=x",
            "a \\| b",
            "43.00",
            "500",
            "Table 3",
            "2.43",
            "## Verdicts",
            "a\\|b",
            "## Signatures",
        ):
            assert part in page
        assert "Table 2" not in page
        widths = [line.replace("\\|", "").count("|") for line in page.splitlines() if line.startswith("|")]
        assert all(width > 3 for width in widths)

    def test_a_page_of_nothing_has_no_tables(self):
        page = markdown([], [], [], about=[])
        assert "##" not in page
