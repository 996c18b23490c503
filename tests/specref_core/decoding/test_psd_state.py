"""Trees of drafts: which states they hold, and in which order they grow."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from specref_core.decoding.psd_state import Guess, State, drafted


def _root(length):
    return State(
        torch.zeros(length, dtype=torch.int64), torch.ones(length, dtype=torch.bool), torch.zeros(length).long()
    )


def _grown(table, *, depth, most):
    """Grow a tree over a table of probabilities, (places, tokens): the leftmost hidden place takes any token."""

    def guesses(state):
        place = int(state.hidden.long().argmax())
        if not state.hidden[place]:
            return []
        places = torch.tensor([place])
        return [Guess(torch.tensor([t]), places, -math.log(p)) for t, p in enumerate(table[place], start=1)]

    root = _root(len(table))
    return drafted(root, guesses, lambda s, g: s.after(g.tokens, g.places), depth=depth, most=most)


@given(
    st.lists(st.lists(st.floats(0.01, 1), min_size=1, max_size=3), min_size=1, max_size=4),
    st.integers(0, 5),
    st.integers(1, 60),
)
def test_a_tree_holds_the_likeliest_drafts_and_their_beginnings(table, depth, most):
    tree = _grown(table, depth=depth, most=most)
    chances = {}
    for length in range(min(depth, len(table)) + 1):
        for tokens in itertools.product(*(range(len(row)) for row in table[:length])):
            chances[tokens] = math.prod(table[place][token] for place, token in enumerate(tokens))
    drafts = [tuple(int(token) - 1 for token in s.canvas[~s.hidden]) for s in tree.states]
    assert len(set(drafts)) == len(drafts) == min(most, len(chances))
    assert sum(chances[d] for d in drafts) == pytest.approx(sum(sorted(chances.values())[::-1][: len(drafts)]))
    assert all(a >= b - 1e-9 for a, b in itertools.pairwise(chances[d] for d in drafts))
    for node, draft in enumerate(drafts[1:], start=1):
        assert drafts[tree.parents[node]] == draft[:-1]
        assert [drafts[above] for above in tree.path(node)] == [draft[:i] for i in range(len(draft))]


def test_one_guess_a_state_makes_a_chain():
    tree = _grown([[0.5], [0.1], [0.9]], depth=2, most=9)
    assert tree.parents == [-1, 0, 1]
    assert list(tree.children(1)) == [2]
    assert tree.states[2].canvas.tolist() == [1, 1, 0]
    assert tree.states[2].committed_at.tolist() == [1, 2, 0]


def test_nothing_to_guess_leaves_the_root_alone():
    assert len(drafted(_root(2), lambda _: [], lambda s, _: s, depth=3, most=9).states) == 1
