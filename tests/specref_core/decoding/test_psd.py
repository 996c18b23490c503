"""PSD against the undrafted sampler: strict acceptance changes nothing, relaxed acceptance keeps its own rule."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fixtures.checkpoints import make_llada_checkpoint
from specref_core.decoding.denoise import DenoiseSettings, denoise
from specref_core.decoding.psd import PsdSettings, psd
from specref_core.decoding.unmask_policies import (
    Candidates,
    Factor,
    FixedCount,
    Hierarchy,
    LeftToRight,
    Scheduled,
    Threshold,
)
from specref_core.errors import CheckpointError, InputError
from specref_core.models.llada import load_llada

POLICIES = [Scheduled(), FixedCount(2), LeftToRight(), Threshold(0.15), Factor(1.6), Hierarchy(0.1, 0.2)]


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Random models of both kinds; the second is sure of itself, so that drafts come true."""
    return [
        load_llada(
            make_llada_checkpoint(tmp_path_factory.mktemp(f"psd{seed}"), seed=seed, prediction_shift=bool(seed))
        ).model
        for seed in range(2)
    ]


class Table:
    """A model whose predictions never change: every draft comes true."""

    def __init__(self, like, logits):
        self.config, self.device, self.logits, self.batches = like.config, like.device, logits, []

    def __call__(self, input_ids, attention_mask, position_ids):  # noqa: ARG002
        self.batches.append(len(input_ids))
        table = self.logits

        class Output:
            logits = table[: input_ids.shape[1]].expand(len(input_ids), -1, -1).clone()

        return Output


@st.composite
def cases(draw):
    """A canvas of any form, with padding and a prompt of any length, or without."""
    rows, length = draw(st.integers(1, 2)), draw(st.integers(1, 12))
    flags = draw(st.lists(st.booleans(), min_size=rows * length, max_size=rows * length))
    ids = torch.randint(0, 300, (rows, length), generator=torch.Generator().manual_seed(draw(st.integers(0, 99))))
    return ids, torch.tensor(flags).view(rows, length)


DENOISE = st.builds(
    DenoiseSettings,
    steps=st.integers(1, 12),
    block_length=st.none() | st.integers(1, 9),
    temperature=st.sampled_from([0.0, 0.0, 0.8]),
    remasking=st.sampled_from(["low_confidence", "low_confidence", "random"]),
    cfg_scale=st.sampled_from([0.0, 0.0, 1.0]),
    ban_eos=st.booleans(),
    defer_eos=st.booleans(),
    confidence_dtype=st.sampled_from(["float32", "model"]),
)


@settings(max_examples=40, deadline=None)
@given(cases(), DENOISE, st.integers(0, 5), st.integers(0, 1))
def test_strict_acceptance_equals_the_undrafted_sampler_token_for_token(models, case, options, depth, which):
    (ids, masked), model = case, models[which]
    out = psd(
        model,
        ids,
        masked,
        settings=options,
        speculation=PsdSettings(depth=depth),
        seeds=[7 + row for row in range(len(ids))],
    )
    for row in range(len(ids)):  # alone, because float noise may settle a tie of the sampler's own batch differently
        one = slice(row, row + 1)
        plain = denoise(model, ids[one], masked[one], settings=options, seeds=[7 + row])
        assert torch.equal(out.ids[one], plain.ids)
        assert torch.equal(out.committed_at[one], plain.committed_at)


def _undrafted(model, ids, masked, policy, block_length=None):
    """Every step a pass of its own, one row, written as plainly as possible."""
    canvas, hidden, passes = ids.clone(), masked.clone(), 0
    canvas[hidden] = model.config.mask_token_id
    start = int(hidden[0].long().argmax())
    while hidden.any():
        first = int(hidden[0].long().argmax())
        end = ids.shape[1] if block_length is None else start + block_length * ((first - start) // block_length + 1)
        places = [i for i in hidden[0].nonzero().flatten().tolist() if i < end]
        with torch.no_grad():
            logits = model(canvas).logits[0, places].float()
        probabilities = logits.softmax(-1)
        probabilities[:, model.config.mask_token_id] = -1
        confidence, tokens = probabilities.max(-1)
        passes += 1
        for i in policy.select(Candidates(confidence, torch.tensor(places))).tolist():
            canvas[0, places[i]], hidden[0, places[i]] = tokens[i], False
    return canvas, passes


@settings(max_examples=25, deadline=None)
@given(cases(), st.sampled_from(POLICIES[1:]), st.sampled_from([None, 4]), st.integers(0, 5), st.integers(0, 1))
def test_strict_acceptance_equals_the_plain_loop_of_any_policy(models, case, policy, block, depth, which):  # noqa: PLR0917  # hypothesis names them
    (ids, masked), model = case, models[which]
    ids, masked = ids[:1], masked[:1].clone()
    masked[0, 0] = False  # a context: positions of a canvas without one are alike but for float noise
    wanted, passes = _undrafted(model, ids, masked, policy, block)
    speculation = PsdSettings(policy=policy, depth=depth, drafting=Threshold(0.05) if depth == 5 else None)
    got = psd(model, ids, masked, settings=DenoiseSettings(block_length=block), speculation=speculation)
    assert torch.equal(got.ids, wanted)
    assert int(got.committed_at.max()) == passes
    if depth == 0:
        assert got.forward_passes.tolist() == got.row_forwards.tolist() == [passes]


@settings(max_examples=25, deadline=None)
@given(cases(), st.sampled_from(POLICIES), st.integers(0, 4), st.integers(0, 1), st.sampled_from(["strict", "relaxed"]))
def test_hidden_positions_are_filled_and_kept_ones_stay(models, case, policy, depth, which, acceptance):  # noqa: PLR0917  # hypothesis names them
    (ids, masked), model = case, models[which]
    before = ids.clone(), masked.clone()
    speculation = PsdSettings(policy=policy, depth=depth, acceptance=acceptance)
    out = psd(model, ids, masked, settings=DenoiseSettings(steps=5), speculation=speculation)
    assert torch.equal(out.ids[~masked], ids[~masked])
    assert (out.ids[masked] != model.config.mask_token_id).all()
    assert torch.equal(out.committed_at > 0, masked)
    assert (out.row_forwards >= out.forward_passes).all()
    assert (out.row_forwards <= (depth + 1) * out.forward_passes).all()
    if acceptance == "relaxed":  # every pass makes one step at least
        assert (out.forward_passes <= out.committed_at.max(dim=1).values).all()
    assert torch.equal(ids, before[0])
    assert torch.equal(masked, before[1])


@pytest.mark.parametrize("acceptance", ["strict", "relaxed"])
@pytest.mark.parametrize("depth", [0, 1, 3, 7])
@pytest.mark.parametrize("hidden", [1, 4, 5, 13, 24])
def test_drafts_that_come_true_save_all_they_can(models, hidden, depth, acceptance):
    table = Table(models[0], torch.randn(30, 320, generator=torch.Generator().manual_seed(hidden)))
    ids = torch.full((1, hidden + 2), 5)
    masked = torch.arange(hidden + 2)[None] >= 2
    speculation = PsdSettings(policy=FixedCount(1), depth=depth, acceptance=acceptance)
    out = psd(table, ids, masked, speculation=speculation)
    # the first pass looks, every later one makes depth + 1 steps, the last step needs no pass behind it
    assert out.forward_passes.tolist() == [1 + math.ceil((hidden - 1) / (depth + 1))]
    assert max(table.batches) <= depth + 1
    assert sum(table.batches) == int(out.row_forwards)
    assert torch.equal(out.ids, psd(table, ids, masked, speculation=PsdSettings(FixedCount(1), depth=0)).ids)


class Settling(Table):
    """Where the table is torn between tokens, what is written to the left settles it, always for a less likely one."""

    def __call__(self, input_ids, attention_mask, position_ids):
        out = super().__call__(input_ids, attention_mask, position_ids)
        for row, ids in enumerate(input_ids):
            for place in range(1, len(ids)):
                if ids[place - 1] != self.config.mask_token_id:
                    out.logits[row, place, 8] += 3
        return out


@pytest.mark.parametrize("acceptance", ["strict", "relaxed"])
@pytest.mark.parametrize(("alternatives", "passes"), [(1, 9), (2, 2)])
def test_a_token_that_was_second_is_drafted_too(models, alternatives, passes, acceptance):
    """Every place but the first will hold token 8, of which every stale prediction says that it comes second."""
    logits = torch.zeros(10, 320)
    logits[:, 9], logits[:, 8] = 12.0, 11.0
    ids, masked = torch.full((1, 10), 5), torch.arange(10)[None] >= 1
    masked[0, 0] = False
    logits[1, 8] = 20.0
    how = PsdSettings(LeftToRight(), 8, acceptance, alternatives=alternatives, most_states=2**9)
    out = psd(Settling(models[0], logits), ids, masked, speculation=how)
    assert out.ids.tolist() == [[5, *[8] * 9]]
    assert out.forward_passes.tolist() == [passes]
    assert out.committed_at.tolist() == [[0, *range(1, 10)]]


def test_a_floor_refuses_drafts_that_are_likeliest_but_not_likely(models):
    """Two sure positions before eight that no forward is sure of: those are filled one pass at a time."""
    logits = torch.zeros(10, 320)
    logits[:, 9] = torch.tensor([20.0, 20.0, *[1.0] * 8])
    ids, masked = torch.full((1, 10), 5), torch.ones(1, 10, dtype=torch.bool)
    passes = {}
    for floor in (0.0, 0.5):
        how = PsdSettings(FixedCount(1), 9, "relaxed", floor=floor)
        out = psd(Table(models[0], logits), ids, masked, speculation=how)
        assert out.ids.tolist() == [[9] * 10]
        passes[floor] = int(out.forward_passes)
    assert passes == {0.0: 2, 0.5: 9}  # look, and all the rest; look, the second, and one each


@pytest.mark.parametrize(("alternatives", "passes"), [(1, 4), (2, 2)])
def test_of_a_step_the_least_sure_token_is_varied(models, alternatives, passes):
    """Steps of two: the first token is torn and settles for the second likeliest, the other one is never in doubt."""
    logits = torch.zeros(9, 320)
    logits[1::2, 9], logits[1::2, 8], logits[2::2, 9] = 12.0, 11.0, 30.0
    ids, masked = torch.full((1, 9), 5), torch.arange(9)[None] >= 1
    how = PsdSettings(LeftToRight(2), 8, alternatives=alternatives, most_states=2**5)
    out = psd(Settling(models[0], logits), ids, masked, speculation=how)
    assert out.ids.tolist() == [[5, *[8, 9] * 4]]
    assert out.forward_passes.tolist() == [passes]


@pytest.mark.parametrize("most", [1, 2, 5, 30])
@pytest.mark.parametrize("alternatives", [2, 400])
def test_a_pass_never_has_more_states_than_allowed(models, most, alternatives):
    table = Table(models[0], torch.randn(20, 320, generator=torch.Generator().manual_seed(3)))
    ids = torch.full((1, 14), 5)
    how = PsdSettings(FixedCount(1), 4, alternatives=alternatives, most_states=most)
    out = psd(table, ids, torch.arange(14)[None] >= 2, speculation=how)
    assert max(table.batches) == min(most, 30)
    assert sum(table.batches) == int(out.row_forwards)


def test_banned_tokens_and_the_mask_are_no_alternatives(models):
    logits = torch.full((6, 320), -50.0)
    logits[:, 9], logits[:, [10, models[0].config.mask_token_id]], logits[:, 11] = 3.0, 2.0, 1.0
    seen = []

    class Watching(Table):
        def __call__(self, input_ids, **inputs):
            seen.extend(input_ids[:, 1:].flatten().tolist())
            return super().__call__(input_ids, **inputs)

    how = PsdSettings(LeftToRight(), 4, alternatives=2, most_states=16)
    ids, masked = torch.full((1, 6), 5), torch.arange(6)[None] >= 1
    psd(Watching(models[0], logits), ids, masked, settings=DenoiseSettings(suppress_tokens=(10,)), speculation=how)
    assert set(seen) == {9, 11, models[0].config.mask_token_id}


class Turning(Table):
    """Predictions that depend on how much is filled: the order of commitments turns round after the first step."""

    def __call__(self, input_ids, attention_mask, position_ids):
        out = super().__call__(input_ids, attention_mask, position_ids)
        for row, ids in enumerate(input_ids):
            if int((ids == self.config.mask_token_id).sum()) < 6:
                out.logits[row] = out.logits[row].flip(0)
        return out


def test_relaxed_acceptance_asks_for_tokens_and_strict_for_the_step(models):
    logits = torch.zeros(6, 320)
    logits[:, 9] = torch.linspace(3, 4, 6)  # one token everywhere; only the order of confidences turns
    ids, masked = torch.full((1, 6), 5), torch.ones(1, 6, dtype=torch.bool)
    passes = {}
    for acceptance in ("strict", "relaxed"):
        speculation = PsdSettings(FixedCount(1), depth=2, acceptance=acceptance)
        out = psd(Turning(models[0], logits), ids, masked, speculation=speculation)
        assert out.ids.tolist() == [[9] * 6]
        passes[acceptance] = out.forward_passes.item(), out.committed_at.tolist()
    # relaxed keeps the stale order 6, 5, 4 for one pass; strict follows the turned one after its first step
    assert passes["relaxed"] == (3, [[4, 5, 6, 3, 2, 1]])
    assert passes["strict"] == (4, [[2, 3, 4, 5, 6, 1]])


def test_a_draft_with_a_wrong_token_is_refused_by_both_rules(models):
    class Changing(Table):
        def __call__(self, input_ids, attention_mask, position_ids):
            out = super().__call__(input_ids, attention_mask, position_ids)
            for row, ids in enumerate(input_ids):
                out.logits[row, :, int((ids == self.config.mask_token_id).sum())] = 50.0
            return out

    ids, masked = torch.full((1, 6), 5), torch.ones(1, 6, dtype=torch.bool)
    for acceptance in ("strict", "relaxed"):
        model = Changing(models[0], torch.zeros(6, 320))
        out = psd(
            model,
            ids,
            masked,
            speculation=PsdSettings(FixedCount(1), depth=3, acceptance=acceptance, recheck_ties=False),
        )
        assert out.ids.tolist() == [[6, 5, 4, 3, 2, 1]]
        assert out.forward_passes.tolist() == [6]


@pytest.mark.parametrize("length", [3, 8, 12])
def test_positions_that_only_float_noise_tells_apart_are_filled_in_the_samplers_order(models, length):
    """Without any context all hidden positions are alike."""
    ids = torch.full((1, length), models[0].config.mask_token_id)
    options = DenoiseSettings(steps=length)
    wanted = denoise(models[0], ids, settings=options)
    got = psd(models[0], ids, settings=options, speculation=PsdSettings(depth=3))
    assert torch.equal(got.committed_at, wanted.committed_at)
    assert torch.equal(got.ids, wanted.ids)


def _ending(models, at, length=8):
    """A table that writes token 9, and the end token from place ``at`` on; the first places are the surest."""
    end = models[0].config.eos_token_id
    logits = torch.zeros(length + 2, 320)
    logits[:, 9] = torch.linspace(6, 5, length + 2)
    logits[at:, 9] = 0
    logits[at:, end] = torch.linspace(6, 5, length + 2 - at)
    return Table(models[0], logits), end


@pytest.mark.parametrize("acceptance", ["strict", "relaxed"])
@pytest.mark.parametrize("depth", [0, 3])
def test_an_answer_that_has_ended_is_not_denoised_further(models, depth, acceptance):
    model, end = _ending(models, at=5)
    ids = torch.full((1, 10), 3)
    ids[0, 0] = end  # in the prompt: no end of the answer
    masked = torch.arange(10)[None] >= 2
    options = {"settings": DenoiseSettings(steps=8), "prompt_mask": ~masked, "end_token_ids": [end]}
    early = psd(model, ids, masked, speculation=PsdSettings(depth=depth, acceptance=acceptance), **options)
    late = psd(
        model, ids, masked, speculation=PsdSettings(depth=depth, acceptance=acceptance, early_end=False), **options
    )
    assert early.ids.tolist() == late.ids.tolist() == [[end, 3, 9, 9, 9, end, end, end, end, end]]
    assert int(early.forward_passes) < int(late.forward_passes)
    assert (early.ids != models[0].config.mask_token_id).all()


def test_an_end_with_holes_before_it_ends_nothing_yet(models):
    model, end = _ending(models, at=2)
    model.logits[2, end] += 9  # surest of all is an end behind the first hidden position
    model.logits[1] = 0
    model.logits[1, 9] = 1.0  # the least sure comes last
    ids, masked = torch.full((1, 6), 3), torch.arange(6)[None] >= 1
    out = psd(
        model,
        ids,
        masked,
        settings=DenoiseSettings(steps=5),
        speculation=PsdSettings(depth=0),
        prompt_mask=~masked,
        end_token_ids=[end],
    )
    assert out.ids.tolist() == [[3, 9, end, end, end, end]]
    assert out.forward_passes.tolist() == [5]


def test_rows_of_one_batch_do_not_meet(models):
    model = models[0]
    ids = torch.randint(0, 300, (3, 10), generator=torch.Generator().manual_seed(4))
    masked = torch.tensor([[i >= start for i in range(10)] for start in (2, 6, 9)])
    attention = torch.ones_like(ids)
    attention[1, 0] = 0
    options = DenoiseSettings(steps=8)
    together = psd(model, ids, masked, attention_mask=attention, settings=options)
    for row in range(3):
        one = slice(row, row + 1)
        alone = psd(model, ids[one], masked[one], attention_mask=attention[one], settings=options)
        assert torch.equal(together.ids[one], alone.ids)
        assert together.head_rows[row] > 0


@pytest.mark.parametrize("shape", [(0, 5), (2, 0), (1, 4)])
def test_nothing_to_fill_costs_nothing(models, shape):
    ids = torch.ones(shape, dtype=torch.int64)
    out = psd(models[0], ids)
    assert torch.equal(out.ids, ids)
    assert out.forward_passes.tolist() == out.row_forwards.tolist() == [0] * shape[0]


class Idle:
    """A policy that breaks its contract."""

    def select(self, candidates):
        return candidates.places[:0]


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: PsdSettings(depth=-1), "depth=-1"),
        (lambda: PsdSettings(depth=1.5), "depth=1.5"),
        (lambda: PsdSettings(acceptance="lenient"), "strict or relaxed"),
        (lambda: PsdSettings(policy=0.9), "policy=0.9"),
        (lambda: PsdSettings(drafting="threshold"), "drafting='threshold'"),
        (lambda: PsdSettings(drafting=(Threshold(0.5), 3)), "drafting="),
        (lambda: PsdSettings(alternatives=0), "alternatives=0"),
        (lambda: PsdSettings(alternatives=2.0), "alternatives=2.0"),
        (lambda: PsdSettings(most_states=0), "most_states=0"),
        (lambda: PsdSettings(floor=1.5), "floor=1.5"),
        (lambda: PsdSettings(most_states=True), "most_states=True"),
    ],
)
def test_settings_that_cannot_be_used_are_named(make, told):
    with pytest.raises(InputError, match=told):
        make()


def test_misuse_is_refused_as_by_the_undrafted_sampler(models, tmp_path):
    with pytest.raises(InputError, match="chose nothing"):
        psd(models[0], torch.full((1, 4), models[0].config.mask_token_id), speculation=PsdSettings(Idle()))
    with pytest.raises(InputError, match="one seed for each of the 1 rows"):
        psd(models[0], torch.ones(1, 4, dtype=torch.int64), settings=DenoiseSettings(temperature=1.0))
    with pytest.raises(InputError, match="int64"):
        psd(models[0], torch.ones(1, 4))
    broken = load_llada(make_llada_checkpoint(tmp_path)).model
    with torch.no_grad():
        broken.model.norm.weight[0] = torch.nan
    with pytest.raises(CheckpointError, match="not numbers"):
        psd(broken, torch.full((1, 4), broken.config.mask_token_id))
