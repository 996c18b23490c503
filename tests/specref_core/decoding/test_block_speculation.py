"""Block speculation changes the number of passes and nothing else."""

from __future__ import annotations

import itertools
from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare

from fixtures.checkpoints import make_phi_checkpoint
from specref_core.block_speculator import BlockSpeculativeDrafter, BlockSpeculator
from specref_core.decoding.block_speculation import draw, speculate, truncated
from specref_core.drafting.checkpoint import load_causal_lm
from specref_core.drafting.distribution import choose
from specref_core.drafting.transformers import TransformersDrafter
from specref_core.errors import InputError
from specref_core.generator import Budget, HasDraft
from specref_core.loading import check_generator
from specref_core.models.block_drafter import BlockDrafter, BlockDrafterConfig
from specref_core.specref import SpecRef
from specref_core.standalone import StandaloneRefiner

PROMPTS = ["def f(x):", "One", "a b c d e f g h", "\n\n"]


def _drafter(target, block_size=4, seed=0):
    torch.manual_seed(seed)
    drafter = BlockDrafter(BlockDrafterConfig.for_target(target, features=2, block_size=block_size))
    with torch.no_grad():  # far from its first weights, so that its drafts differ
        for parameter in drafter.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return drafter


@pytest.fixture(scope="module")
def target(tmp_path_factory):
    return load_causal_lm(make_phi_checkpoint(tmp_path_factory.mktemp("target"), scale=0.4, seed=3))


@settings(max_examples=25, deadline=None)
@given(
    prompt=st.text("abc def(x):\n", min_size=1, max_size=12),
    tokens=st.integers(1, 14),
    block_size=st.integers(2, 6),
    seed=st.integers(0, 5),
    sampling=st.sampled_from([(0.0, 1.0), (0.7, 1.0), (1.3, 0.8)]),
)
def test_matching_gives_the_targets_own_text_at_every_temperature(target, prompt, tokens, block_size, seed, sampling):  # noqa: PLR0917  # hypothesis names them
    temperature, top_p = sampling
    alone = TransformersDrafter(*target, temperature=temperature, top_p=top_p)
    fast = BlockSpeculativeDrafter(*target, _drafter(target[0], block_size, seed), temperature=temperature, top_p=top_p)
    budget = Budget(max_new_tokens=tokens)
    wanted, got = (d.draft([prompt], budget=budget, seed=seed)[0] for d in (alone, fast))
    assert got.token_ids == wanted.token_ids
    assert got.text == wanted.text
    assert got.spans == wanted.spans
    assert got.entropies == pytest.approx(wanted.entropies, abs=1e-4)


@pytest.mark.parametrize("verification", ["match", "rejection"])
def test_greedy_equals_the_target_alone_on_every_prompt(target, verification):
    budget = Budget(max_new_tokens=20)
    wanted = TransformersDrafter(*target).draft(PROMPTS, budget=budget, seed=0)
    drafter = BlockSpeculativeDrafter(*target, _drafter(target[0]), verification=verification)
    assert [d.token_ids for d in drafter.draft(PROMPTS, budget=budget, seed=0)] == [d.token_ids for d in wanted]
    alone = [drafter.draft([p], budget=budget, seed=0)[0] for p in PROMPTS]
    assert [d.token_ids for d in alone] == [d.token_ids for d in wanted]


class Fixed(BlockDrafter):
    """Proposes given tokens, block after block: the head is put out of the way by the test's own target."""

    def __init__(self, config, script):
        super().__init__(config)
        self.script, self.asked = script, 0

    def forward(self, anchors, starts, context):  # noqa: ARG002
        start = int(starts[0, 0])
        self.asked += 1
        wanted = [self.script(start + 1 + k) for k in range(self.config.block_size - 1)]
        return torch.nn.functional.one_hot(torch.tensor(wanted), self.config.hidden)[None, None].float() * 40


class Chain(torch.nn.Module):
    """A target over a small vocabulary whose next-token logits depend on the last token only; features are one-hot."""

    def __init__(self, table):
        super().__init__()
        self.table, self.vocab = table, len(table)
        self.embedding = torch.nn.Embedding(self.vocab, self.vocab)
        self.head = torch.nn.Linear(self.vocab, self.vocab, bias=False)
        with torch.no_grad():
            self.head.weight.copy_(torch.eye(self.vocab))

    def get_input_embeddings(self):
        return self.embedding

    def get_output_embeddings(self):
        return self.head

    def forward(self, input_ids, attention_mask, past_key_values=None, **_):
        cache = past_key_values or Cropping()
        cache.ids += input_ids[0].tolist()
        assert len(cache.ids) == attention_mask.shape[1]
        hidden = torch.nn.functional.one_hot(input_ids, self.vocab).float()

        class Output:
            logits = self.table[input_ids]
            hidden_states = (hidden, hidden)
            past_key_values = cache

        return Output


class Cropping:
    def __init__(self):
        self.ids = []

    def crop(self, count):
        assert count < 0
        del self.ids[count:]


def _config(vocab=4, block_size=4):
    return BlockDrafterConfig(hidden=vocab, heads=1, block_size=block_size, feature_layers=(0,))


def _count_up():
    """A target that greedily writes 0, 1, 2, 3, 0, 1, ..."""
    return Chain(20.0 * torch.eye(4).roll(1, dims=1))


def _run(target, drafter, room=12, seed=0, **options):
    return speculate(
        target,
        drafter,
        [0],
        room=room,
        stream=np.random.default_rng(seed),
        stopped=options.pop("stopped", lambda _: False),
        **options,
    )


def test_right_drafts_are_all_kept_and_cost_one_pass_a_block():
    out = _run(_count_up(), Fixed(_config(), lambda place: place % 4), room=13)
    assert out.tokens == tuple(place % 4 for place in range(1, 14))
    assert [r.accepted for r in out.rounds] == [3, 3, 3]  # 1 + 3 * 4 tokens
    assert out.forward_passes == 4
    assert out.positions == 1 + 3 * 4


def test_a_wrong_draft_ends_its_round_and_wastes_what_follows():
    out = _run(_count_up(), Fixed(_config(), lambda place: 0 if place % 4 == 3 else place % 4), room=9)
    assert out.tokens == tuple(place % 4 for place in range(1, 10))
    starts = [r.start for r in out.rounds]
    for r in out.rounds:
        wanted = [(r.start + 1 + k) % 4 for k in range(len(r.drafted))]
        right = [d == w for d, w in zip(r.drafted, wanted, strict=True)]
        assert r.accepted == (right.index(False) if False in right else len(right))
    assert starts == list(itertools.accumulate([1, *(r.accepted + 1 for r in out.rounds)]))[:-1]


@pytest.mark.parametrize("room", range(1, 8))
def test_the_room_is_never_exceeded_and_no_draft_reaches_beyond_it(room):
    out = _run(_count_up(), Fixed(_config(), lambda place: place % 4), room=room)
    assert len(out.tokens) == len(out.entropies) == room
    assert all(r.start + len(r.drafted) < room for r in out.rounds)


@pytest.mark.parametrize("end", range(1, 9))
def test_a_text_that_stops_inside_a_block_stops_there(end):
    out = _run(_count_up(), Fixed(_config(), lambda place: place % 4), stopped=lambda tokens: len(tokens) == end)
    assert len(out.tokens) == end


@pytest.mark.parametrize("verification", ["match", "rejection"])
@pytest.mark.parametrize(("temperature", "top_p"), [(1.0, 1.0), (0.6, 1.0), (1.0, 0.7)])
def test_sampled_texts_have_the_targets_distribution(verification, temperature, top_p):
    table = torch.tensor([[0.0, 1.0, 2.0, 0.5], [1.0, 0.0, 0.3, 1.0], [0.2, 1.4, 0.0, 0.0], [1.0, 1.0, 1.0, 0.0]])
    p = torch.stack([truncated(row, temperature, top_p) for row in table])
    chance = {
        text: float(p[0, text[0]] * p[text[0], text[1]] * p[text[1], text[2]])
        for text in itertools.product(range(4), repeat=3)
    }
    target, drafter, n = Chain(table), Soft(_config()), 800
    drawn = Counter(
        _run(target, drafter, room=3, seed=seed, temperature=temperature, top_p=top_p, verification=verification).tokens
        for seed in range(n)
    )
    possible = [text for text, c in chance.items() if c > 0]
    assert set(drawn) <= set(possible)
    rare = [text for text in possible if n * chance[text] < 5]
    common = [text for text in possible if n * chance[text] >= 5]
    seen = [drawn[t] for t in common] + ([sum(drawn[t] for t in rare)] if rare else [])
    wanted = [n * chance[t] for t in common] + ([n * sum(chance[t] for t in rare)] if rare else [])
    assert chisquare(seen, np.array(wanted) * sum(seen) / sum(wanted)).pvalue > 1e-4


class Soft(BlockDrafter):
    """A drafter whose distribution is far from the target's, and from one-hot."""

    def forward(self, anchors, starts, context):  # noqa: ARG002
        return torch.tensor([[[[2.0, 0.0, 0.5, 1.0]] * (self.config.block_size - 1)]])


def test_rejection_keeps_more_than_matching_where_the_drafter_is_unsure():
    table = torch.zeros(4, 4)
    kept = {
        verification: sum(
            r.accepted
            for seed in range(60)
            for r in _run(
                Chain(table), Flat(_config()), room=12, seed=seed, temperature=1.0, verification=verification
            ).rounds
        )
        for verification in ("match", "rejection")
    }
    assert kept["rejection"] > 2 * kept["match"]  # p equals q: everything is kept


class Flat(BlockDrafter):
    def forward(self, anchors, starts, context):  # noqa: ARG002
        return torch.zeros(1, 1, self.config.block_size - 1, self.config.hidden)


@given(
    st.lists(st.floats(-5, 5, width=32), min_size=2, max_size=9),
    st.floats(0.2, 3),
    st.sampled_from([1.0, 0.9, 0.5, 0.01]),
    st.floats(0, 1, exclude_max=True),
)
def test_the_distribution_is_the_one_that_tokens_are_drawn_from(logits, temperature, top_p, uniform):
    logits = torch.tensor(logits)
    p = truncated(logits, temperature, top_p)
    assert float(p.sum()) == pytest.approx(1)
    token = int(choose(logits[None], temperature=temperature, top_p=top_p, uniform=torch.tensor([uniform])))
    assert float(p[token]) > 0


def test_a_weight_of_zero_is_never_drawn():
    weights = torch.tensor([0.0, 0.5, 0.0, 0.5, 0.0], dtype=torch.float64)
    assert {draw(weights, u) for u in np.linspace(0, 1, 101)} == {1, 3}
    assert draw(torch.zeros(3, dtype=torch.float64), 0.5) == 0


def test_it_is_a_generator_with_a_cost_and_composes_with_the_pipeline(target, llada):
    fast = BlockSpeculativeDrafter(*target, _drafter(target[0]))
    generator = BlockSpeculator(fast)
    check_generator(generator, "here")
    assert isinstance(generator, HasDraft)
    budget = Budget(max_new_tokens=8, steps=4)
    made = generator.generate(PROMPTS[:2], budget=budget, seed=0)
    plain = TransformersDrafter(*target).draft(PROMPTS[:2], budget=budget, seed=0)
    for completion, draft in zip(made, plain, strict=True):
        assert completion.text == draft.text
        assert 1 <= completion.cost.forward_passes <= completion.cost.drafted_tokens == len(draft.token_ids)
        assert completion.cost.flops > 0
    assert generator.generate([], budget=budget, seed=0) == []
    pipelines = [SpecRef(d, StandaloneRefiner(*llada)) for d in (TransformersDrafter(*target), fast)]
    texts = [[c.text for c in p.generate(PROMPTS[:2], budget=budget, seed=0)] for p in pipelines]
    assert texts[0] == texts[1]
    costs = [p.generate(PROMPTS[:1], budget=budget, seed=0)[0].cost.flops for p in pipelines]
    assert costs[0] != costs[1]


def test_a_tokens_row_does_not_depend_on_its_neighbours(target):
    fast = BlockSpeculativeDrafter(*target, _drafter(target[0]), temperature=1.0, verification="rejection")
    budget = Budget(max_new_tokens=8)
    together = fast.draft(PROMPTS, budget=budget, seed=5)
    backwards = fast.draft(PROMPTS[::-1], budget=budget, seed=5)[::-1]
    assert [d.token_ids for d in together] == [d.token_ids for d in backwards]


def test_stop_strings_and_the_context_window_bind_as_for_the_target_alone(target):
    budget = Budget(max_new_tokens=30)
    plain = TransformersDrafter(*target).draft(PROMPTS[:1], budget=budget, seed=0)[0].text
    stop = plain[len(plain) // 2 : len(plain) // 2 + 2]
    drafters = [
        TransformersDrafter(*target, stop=[stop]),
        BlockSpeculativeDrafter(*target, _drafter(target[0], 6), stop=[stop]),
    ]
    drafts = [d.draft(PROMPTS[:1], budget=budget, seed=0)[0] for d in drafters]
    assert (drafts[0].text, drafts[0].token_ids) == (drafts[1].text, drafts[1].token_ids)
    assert stop not in drafts[1].text
    for d in drafters:
        d.context_window, d.stop = 9, ()
    short = [d.draft(PROMPTS[1:2], budget=budget, seed=0)[0].token_ids for d in drafters]
    assert short[0] == short[1]


def test_fingerprints_name_both_models(target):
    made = {
        BlockSpeculativeDrafter(*target, _drafter(target[0], size, seed), verification=verification).fingerprint()
        for size, seed, verification in [(4, 0, "match"), (4, 1, "match"), (5, 0, "match"), (4, 0, "rejection")]
    }
    assert len(made | {TransformersDrafter(*target).fingerprint()}) == 5


def test_misuse_is_named(target):
    narrow = BlockDrafter(BlockDrafterConfig(hidden=16, heads=2, block_size=4, feature_layers=(0,)))
    with pytest.raises(InputError, match="16 wide, the target 32"):
        BlockSpeculativeDrafter(*target, narrow)
    with pytest.raises(InputError, match="match or rejection"):
        BlockSpeculativeDrafter(*target, _drafter(target[0]), verification="hope")
    for prompt, room in (([], 3), ([0], 0)):
        with pytest.raises(InputError, match="at least one of each"):
            speculate(
                _count_up(), Flat(_config()), prompt, room=room, stream=np.random.default_rng(), stopped=lambda _: False
            )
