"""The reverse process against the published sampler, and its laws."""

from __future__ import annotations

import dataclasses
import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fixtures.checkpoints import make_llada_checkpoint
from specref_core.decoding.denoise import DenoiseSettings, denoise
from specref_core.errors import CheckpointError, InputError
from specref_core.models.llada import load_llada
from tests.oracles import official_denoise

G = 24


@pytest.fixture(scope="module")
def model(llada_dir):
    return load_llada(llada_dir).model


@pytest.fixture(scope="module")
def shifted(tmp_path_factory):
    return load_llada(make_llada_checkpoint(tmp_path_factory.mktemp("shifted"), prediction_shift=True)).model


def _prompt(model, seed, rows=2, length=7):
    return torch.randint(0, model.config.mask_token_id, (rows, length), generator=torch.Generator().manual_seed(seed))


def _blank(model, prompt, length=G):
    return torch.cat([prompt, torch.full((len(prompt), length), model.config.mask_token_id)], dim=1)


@pytest.mark.parametrize("confidence_dtype", ["float32", "model"])
@pytest.mark.parametrize("cfg_scale", [0.0, 1.5])
@pytest.mark.parametrize(("block_length", "steps"), [(24, 24), (24, 6), (24, 5), (24, 48), (8, 12), (4, 6), (1, 24)])
def test_outputs_equal_the_published_sampler(model, block_length, steps, cfg_scale, confidence_dtype):
    prompt, mask = _prompt(model, seed=steps), model.config.mask_token_id
    with torch.no_grad():
        wanted = official_denoise(
            model, prompt, steps=steps, gen_length=G, block_length=block_length, mask_id=mask, cfg_scale=cfg_scale
        )
    assert (wanted != mask).all(), "the script wrote its mask token: choose another seed"
    options = DenoiseSettings(
        steps=steps, block_length=block_length, cfg_scale=cfg_scale, confidence_dtype=confidence_dtype
    )
    assert torch.equal(denoise(model, _blank(model, prompt), settings=options).ids, wanted)


@pytest.mark.parametrize(("seed", "cfg_scale"), [(0, 0.0), (1, 0.5), (2, 0.0)])
def test_end_token_switches_equal_the_published_sampler(tmp_path, seed, cfg_scale):
    subject = load_llada(make_llada_checkpoint(tmp_path, seed=seed)).model
    config = subject.config
    with torch.no_grad():  # make the end tokens likely, so that the switches have something to do
        subject.lm_head.weight[[config.eos_token_id, config.eot_token_id]] *= 2.0
    prompt = _prompt(subject, seed)
    common = {"steps": 12, "gen_length": G, "block_length": 12, "mask_id": config.mask_token_id}
    for ban in (False, True):
        for defer in (False, True):
            with torch.no_grad():
                wanted = official_denoise(
                    subject,
                    prompt,
                    **common,
                    cfg_scale=cfg_scale,
                    ban_eos=config.eos_token_id if ban else None,
                    defer=(config.eos_token_id, config.eot_token_id) if defer else None,
                )
            options = DenoiseSettings(
                steps=12, block_length=12, cfg_scale=cfg_scale, ban_eos=ban, defer_eos=defer, confidence_dtype="model"
            )
            got = denoise(subject, _blank(subject, prompt), settings=options).ids
            if not (wanted == config.mask_token_id).any():
                assert torch.equal(got, wanted)
            if ban:
                assert (got[:, 7:] != config.eos_token_id).all()


@pytest.mark.parametrize("cfg_scale", [0.0, 1.0])
def test_a_warm_start_equals_the_published_loop_on_the_same_canvas(model, cfg_scale):
    mask = model.config.mask_token_id
    prompt, draft = _prompt(model, 5), _prompt(model, 6, length=G)
    draft[:, 2:20:2] = mask  # as many in every row, or the script would run empty steps for one of them
    with torch.no_grad():
        wanted = official_denoise(
            model, prompt, steps=4, gen_length=G, block_length=G, mask_id=mask, cfg_scale=cfg_scale, canvas=draft
        )
    got = denoise(model, torch.cat([prompt, draft], dim=1), settings=DenoiseSettings(steps=4, cfg_scale=cfg_scale))
    assert torch.equal(got.ids, wanted)
    assert got.forward_passes.tolist() == [4, 4]
    assert got.row_forwards.tolist() == ([8, 8] if cfg_scale else [4, 4])


SETTINGS = st.builds(
    DenoiseSettings,
    steps=st.integers(1, 12),
    block_length=st.none() | st.integers(1, 9),
    temperature=st.sampled_from([0.0, 0.8]),
    remasking=st.sampled_from(["low_confidence", "random"]),
    cfg_scale=st.sampled_from([0.0, 1.0]),
    ban_eos=st.booleans(),
    defer_eos=st.booleans(),
    confidence_dtype=st.sampled_from(["float32", "model"]),
)


@st.composite
def canvases(draw):
    """An arbitrary canvas after two kept tokens, and which of its positions are hidden.

    Without a kept token all positions are alike to the model, and float noise decides which is the most confident.
    """
    rows, length = draw(st.integers(1, 3)), draw(st.integers(1, 12))
    flags = draw(st.lists(st.booleans(), min_size=rows * length, max_size=rows * length))
    ids = torch.randint(0, 300, (rows, 2 + length), generator=torch.Generator().manual_seed(draw(st.integers(0, 99))))
    return ids, torch.nn.functional.pad(torch.tensor(flags).view(rows, length), (2, 0))


@settings(max_examples=25, deadline=None)
@given(canvases(), SETTINGS, st.booleans())
def test_kept_tokens_never_change_and_hidden_ones_are_all_filled(model, shifted, canvas, options, shift):
    ids, masked = canvas
    subject = shifted if shift else model
    seen = []
    out = denoise(
        subject,
        ids,
        masked,
        settings=options,
        seeds=list(range(len(ids))),
        on_step=lambda step, now: seen.append((step, now)),
    )
    assert torch.equal(out.ids[~masked], ids[~masked])
    assert (out.ids[masked] != subject.config.mask_token_id).all()
    assert torch.equal(out.committed_at > 0, masked)
    if options.ban_eos:
        assert (out.ids[masked] != subject.config.eos_token_id).all()
    # no step is empty, and none runs after the last position is filled
    for row, steps in zip(out.committed_at, out.forward_passes.tolist(), strict=True):
        assert set(row[row > 0].tolist()) == set(range(1, steps + 1))
    assert [step for step, _ in seen] == list(range(1, max(out.forward_passes.tolist(), default=0) + 1))
    if seen:
        assert torch.equal(seen[-1][1], out.ids)


@settings(max_examples=15, deadline=None)
@given(canvases(), SETTINGS)
def test_equal_seeds_give_equal_results_and_inputs_are_left_alone(model, canvas, options):
    ids, masked = canvas
    before, hidden_before = ids.clone(), masked.clone()
    seeds = [11 * row for row in range(len(ids))]
    first = denoise(model, ids, masked, settings=options, seeds=seeds)
    second = denoise(model, ids, masked, settings=options, seeds=seeds)
    assert torch.equal(first.ids, second.ids)
    assert torch.equal(first.committed_at, second.committed_at)
    assert torch.equal(ids, before)
    assert torch.equal(masked, hidden_before)


@settings(max_examples=12, deadline=None)
@given(canvases(), SETTINGS, st.tuples(st.integers(0, 4), st.integers(0, 4)), st.booleans())
def test_a_row_does_not_depend_on_its_neighbours_or_its_padding(model, shifted, canvas, options, padding, shift):  # noqa: PLR0917  # hypothesis names them
    (ids, masked), (left, right) = canvas, padding
    # The script leaves equal confidences, those of deferred tokens say, to topk, whose order depends on the length.
    options = dataclasses.replace(options, confidence_dtype="float32")
    subject = shifted if shift else model
    seeds = [100 + row for row in range(len(ids))]
    pad = torch.nn.functional.pad
    together = denoise(
        subject,
        pad(ids, (left, right), value=1),
        pad(masked, (left, right)),
        attention_mask=pad(torch.ones_like(ids), (left, right)),
        settings=options,
        seeds=seeds,
    )
    for row, seed in enumerate(seeds):
        alone = denoise(subject, ids[row : row + 1], masked[row : row + 1], settings=options, seeds=[seed])
        inside = slice(left, left + ids.shape[1])
        assert torch.equal(together.ids[row, inside], alone.ids[0])
        assert torch.equal(together.committed_at[row, inside], alone.committed_at[0])
        assert together.forward_passes[row] == alone.forward_passes[0]
        assert together.head_rows[row] == alone.head_rows[0]


def test_rows_of_different_lengths_leave_the_batch_when_they_are_done(model):
    rows = [_blank(model, _prompt(model, n, rows=1, length=4 + n), length=3 * n) for n in (1, 2, 3)]
    width = max(row.shape[1] for row in rows)
    ids = torch.cat([torch.nn.functional.pad(row, (width - row.shape[1], 0), value=1) for row in rows])
    attention = torch.stack([torch.arange(width) >= width - row.shape[1] for row in rows])
    batches = []

    class Spy:
        config, device, lm_head = model.config, model.device, model.lm_head

        def encode(self, input_ids, **options):
            batches.append(tuple(input_ids.shape))
            return model.encode(input_ids, **options)

    out = denoise(Spy(), ids, attention_mask=attention, settings=DenoiseSettings(steps=64))
    assert out.forward_passes.tolist() == [3, 6, 9]
    assert [rows for rows, _ in batches] == [3] * 3 + [2] * 3 + [1] * 3
    assert batches[-1] == (1, width)
    for row, alone in zip(out.ids, rows, strict=True):
        expected = denoise(model, alone, settings=DenoiseSettings(steps=64)).ids[0]
        assert torch.equal(row[-len(expected) :], expected)


def test_columns_that_only_finished_rows_used_leave_the_batch(model):
    short, long = _blank(model, _prompt(model, 1, rows=1), length=6), _prompt(model, 2, rows=1, length=20)
    long[0, -1] = model.config.mask_token_id
    ids = torch.cat([torch.nn.functional.pad(short, (7, 0), value=1), long])
    attention = torch.tensor([[0] * 7 + [1] * 13, [1] * 20])
    widths = []

    class Spy:
        config, device, lm_head = model.config, model.device, model.lm_head

        def encode(self, input_ids, **options):
            widths.append(input_ids.shape[1])
            return model.encode(input_ids, **options)

    denoise(Spy(), ids, attention_mask=attention, settings=DenoiseSettings(steps=6))
    assert widths == [20] + [13] * 5


def test_a_model_without_encode_is_called_for_its_logits(model):
    class Plain:
        config, device = model.config, model.device

        def __call__(self, input_ids, attention_mask, position_ids):
            return model(input_ids, attention_mask=attention_mask, position_ids=position_ids)

    ids = _blank(model, _prompt(model, 3))
    options = DenoiseSettings(steps=6, block_length=5, cfg_scale=0.5)
    assert torch.equal(denoise(Plain(), ids, settings=options).ids, denoise(model, ids, settings=options).ids)


def test_blocks_are_filled_from_left_to_right_whatever_divides(model):
    out = denoise(model, _blank(model, _prompt(model, 4)), settings=DenoiseSettings(steps=10, block_length=7))
    at = out.committed_at[0, 7:]
    blocks = [at[start : start + 7] for start in range(0, G, 7)]
    assert [len(block) for block in blocks] == [7, 7, 7, 3]
    for before, after in itertools.pairwise(blocks):
        assert before.max() < after.min()
    assert out.forward_passes.tolist() == [10, 10]


def test_blocks_count_from_the_end_of_the_prompt_where_it_is_given(model):
    ids = _prompt(model, 8, rows=1, length=16)
    masked = torch.zeros(1, 16, dtype=torch.bool)
    masked[0, [9, 11, 13, 15]] = True  # the draft starts at 6, its first hidden token stands at 9
    prompt_mask = torch.arange(16)[None] < 6
    options = DenoiseSettings(steps=4, block_length=5)
    at = denoise(model, ids, masked, prompt_mask=prompt_mask, settings=options).committed_at[0]
    assert at[9] == 1  # alone in block 6..10
    assert {int(at[11]), int(at[13]), int(at[15])} == {2, 3, 4}
    unknown = denoise(model, ids, masked, settings=options).committed_at[0]
    assert {int(unknown[place]) for place in (9, 11, 13)} == {1, 2, 3}  # block 9..13
    assert unknown[15] == 4


def test_end_tokens_are_committed_last_also_when_sampled(tmp_path):
    subject = load_llada(make_llada_checkpoint(tmp_path)).model
    config = subject.config
    with torch.no_grad():
        subject.lm_head.weight[[config.eos_token_id, config.eot_token_id]] *= 2.0
    ids = _blank(subject, _prompt(subject, 1, rows=8))
    options = DenoiseSettings(steps=G, temperature=0.7, defer_eos=True)
    out = denoise(subject, ids, settings=options, seeds=list(range(8)))
    ends = ((out.ids == config.eos_token_id) | (out.ids == config.eot_token_id))[:, 7:]
    assert ends.any()
    # A position's token is drawn anew at every step, so an end token is committed only where nothing else is on offer.
    first = DenoiseSettings(steps=G, temperature=0.7)
    plain = denoise(subject, ids, settings=first, seeds=list(range(8)))
    plain_ends = ((plain.ids == config.eos_token_id) | (plain.ids == config.eot_token_id))[:, 7:]
    deferred_at = out.committed_at[:, 7:][ends].float().mean()
    assert deferred_at > plain.committed_at[:, 7:][plain_ends].float().mean()


def test_ties_go_to_the_lowest_position(model):
    class Flat:
        config, device = model.config, model.device

        def __call__(self, input_ids, attention_mask, position_ids):  # noqa: ARG002
            class Output:
                logits = torch.zeros(*input_ids.shape, 320)

            return Output

    out = denoise(Flat(), torch.full((1, 6), model.config.mask_token_id), settings=DenoiseSettings(steps=6))
    assert out.committed_at.tolist() == [[1, 2, 3, 4, 5, 6]]
    assert out.ids.tolist() == [[0] * 6]


def test_a_mask_token_that_is_not_to_be_filled_is_kept(model):
    ids = torch.full((1, 5), model.config.mask_token_id)
    masked = torch.tensor([[True, False, True, False, True]])
    out = denoise(model, ids, masked, settings=DenoiseSettings(steps=3)).ids
    assert (out == model.config.mask_token_id).tolist() == (~masked).tolist()


@pytest.mark.parametrize("shape", [(0, 5), (2, 0), (1, 4)])
def test_nothing_to_fill_costs_nothing(model, shape):
    ids = torch.ones(shape, dtype=torch.int64)
    out = denoise(model, ids, settings=DenoiseSettings(steps=3))
    assert torch.equal(out.ids, ids)
    assert out.forward_passes.tolist() == [0] * shape[0]


def test_head_rows_count_the_positions_that_were_open(model):
    out = denoise(model, _blank(model, _prompt(model, 1, rows=1)), settings=DenoiseSettings(steps=G))
    assert out.head_rows.tolist() == [G * (G + 1) // 2]
    blocks = denoise(model, _blank(model, _prompt(model, 1, rows=1)), settings=DenoiseSettings(steps=G, block_length=8))
    assert blocks.head_rows.tolist() == [3 * 8 * 9 // 2]


def test_seeds_that_differ_in_their_upper_half_differ(model):
    ids, options = _blank(model, _prompt(model, 1, rows=1)), DenoiseSettings(steps=4, temperature=1.0)
    low, high = (denoise(model, ids, settings=options, seeds=[seed]).ids for seed in (5, 5 + 2**32))
    assert not torch.equal(low, high)


@pytest.mark.parametrize(
    "bad",
    [
        {"steps": 0},
        {"block_length": 0},
        {"temperature": -1.0},
        {"temperature": float("nan")},
        {"cfg_scale": -0.5},
        {"cfg_scale": float("inf")},
        {"remasking": "entropy"},
        {"confidence_dtype": "float64"},
    ],
)
def test_settings_out_of_range_are_named(bad):
    with pytest.raises(InputError, match=next(iter(bad))):
        DenoiseSettings(**bad)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"ids": torch.ones(5, dtype=torch.int64)}, "batch, length"),
        ({"ids": torch.ones(1, 5)}, "int64"),
        ({"masked": torch.ones(1, 4, dtype=torch.bool)}, "masked of shape"),
        ({"attention_mask": torch.ones(2, 5)}, "attention_mask of shape"),
        ({"prompt_mask": torch.ones(2, 5)}, "prompt_mask of shape"),
        (
            {"masked": torch.ones(1, 5) > 0, "attention_mask": torch.tensor([[0, 1, 1, 1, 1]])},
            "both masked and padding",
        ),
        ({"settings": DenoiseSettings(temperature=1.0)}, "one seed for each of the 1 rows"),
        ({"settings": DenoiseSettings(remasking="random"), "seeds": [1, 2]}, "one seed for each"),
    ],
)
def test_inputs_that_cannot_be_used_are_named(model, arguments, told):
    with pytest.raises(InputError, match=told):
        denoise(model, **{"ids": torch.ones(1, 5, dtype=torch.int64), **arguments})


def test_a_model_without_a_mask_token_is_refused(model):
    class Nameless:
        config, device = None, model.device

    with pytest.raises(InputError, match="mask_token_id"):
        denoise(Nameless(), torch.ones(1, 5, dtype=torch.int64))
    with pytest.raises(InputError, match="end token"):
        denoise(
            Nameless(), torch.ones(1, 5, dtype=torch.int64), settings=DenoiseSettings(mask_token_id=1, ban_eos=True)
        )


def test_logits_that_are_not_numbers_are_reported(tmp_path):
    broken = load_llada(make_llada_checkpoint(tmp_path)).model
    with torch.no_grad():
        broken.model.norm.weight[0] = torch.nan
    with pytest.raises(CheckpointError, match="not numbers"):
        denoise(broken, _blank(broken, _prompt(broken, 1)))


@pytest.mark.parametrize("recheck", [True, False])
def test_ties_are_looked_at_alone_unless_that_is_turned_off(tmp_path, recheck):
    tied = load_llada(make_llada_checkpoint(tmp_path)).model
    with torch.no_grad():
        tied.get_output_embeddings().weight.zero_()  # all tokens alike, at all positions
    done = denoise(tied, _blank(tied, _prompt(tied, 0)), settings=DenoiseSettings(steps=4, recheck_ties=recheck))
    assert done.forward_passes.tolist() == [4, 4]
    assert (done.row_forwards > 4).all() == recheck
    assert recheck or done.row_forwards.tolist() == [4, 4]
