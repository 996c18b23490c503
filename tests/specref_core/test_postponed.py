"""A pipeline that is not loaded yet: what it says of itself, and that it is the loaded one as soon as it is asked."""

from __future__ import annotations

import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from fixtures import nano
from specref_core import generator as contract
from specref_core import postponed as module
from specref_core.errors import CheckpointError, InputError
from specref_core.generator import Budget, LikelihoodRequest, MonteCarlo, Scaffold
from specref_core.loading import fingerprint
from specref_core.masking import MaskPolicy
from specref_core.postponed import postponed

ROOT = Path(__file__).resolve().parents[2]
CAPABILITIES = [kind for name, kind in vars(contract).items() if name == "Generator" or name.startswith("Has")]
PROMPTS = ["def add(a, b):\n", "Question: 12 + 30 = ?\n"]
ASKED = {"budget": Budget(steps=4, max_new_tokens=12), "seed": 0}
SETTINGS = {"dtype": "float32", "batch_size": 4}


def pair(**settings):
    return postponed(nano.drafter_dir(), nano.refiner_dir(), **{**SETTINGS, **settings})


@pytest.fixture(scope="module")
def loaded():
    return nano.load_pair(batch_size=4)


@pytest.fixture(scope="module")
def later():
    return pair()


def parts(pipeline):
    return {"pipeline": pipeline, **pipeline.components()}


def texts(completions):
    return [completion.text for completion in completions]


@pytest.mark.parametrize("role", ["pipeline", "drafter", "refiner"])
class TestIsTheLoadedOne:
    @pytest.mark.parametrize("kind", CAPABILITIES, ids=lambda kind: kind.__name__)
    def test_in_what_it_can_do(self, loaded, later, role, kind):
        assert isinstance(parts(later)[role], kind) == isinstance(parts(loaded)[role], kind)

    def test_in_its_name(self, loaded, later, role):
        assert parts(later)[role].name == parts(loaded)[role].name

    def test_in_what_it_writes(self, loaded, later, role):
        first, second = parts(loaded)[role], parts(later)[role]
        assert texts(second.generate(PROMPTS, **ASKED)) == texts(first.generate(PROMPTS, **ASKED))

    def test_in_its_likelihoods_and_its_template(self, loaded, later, role):
        first, second = parts(loaded)[role], parts(later)[role]
        request, how = [LikelihoodRequest("1 + 1 =", (" 2", " 3"))], {"monte_carlo": MonteCarlo(8, 8), "seed": 0}
        assert second.log_likelihood(request, **how) == first.log_likelihood(request, **how)
        assert second.chat_prompt("1?") == first.chat_prompt("1?")


def test_drafts_projections_and_refinements_are_those_of_the_loaded_one(loaded, later):
    found = []
    for pipeline in (loaded, later):
        drafts = pipeline.draft(PROMPTS, **ASKED)
        seen = [pipeline.project(draft) for draft in drafts]
        scaffolds = [Scaffold(d.text, s.spans, s.scores > 0.1) for d, s in zip(drafts, seen, strict=True)]
        found.append((drafts, [s.scores.tolist() for s in seen], texts(pipeline.refine(PROMPTS, scaffolds, **ASKED))))
    assert found[0] == found[1]


@pytest.mark.parametrize("rule", contract.END_RULES)
@pytest.mark.parametrize("role", ["pipeline", "refiner"])
def test_end_rules_are_those_of_the_loaded_one(loaded, later, role, rule):
    first, second = (parts(pipeline)[role].with_end_rule(rule) for pipeline in (loaded, later))
    assert second.name == first.name
    assert texts(second.generate(PROMPTS, **ASKED)) == texts(first.generate(PROMPTS, **ASKED))
    assert (second.fingerprint() == parts(later)[role].fingerprint()) == (rule == "free")
    with pytest.raises(InputError, match="end rule 'none'"):
        parts(later)[role].with_end_rule("none")


@pytest.mark.parametrize("given", [{}, {"k": 20.0}, {"math": False, "adaptive": 0.2}])
def test_the_policy_is_known_before(given):
    assert pair(**given).policy == MaskPolicy(**given)


def test_nothing_is_loaded_for_names_fingerprints_and_capabilities():
    program = (
        "import sys\nfrom fixtures.nano import postponed_pair\nfrom specref_core.generator import HasRefine\n"
        "pair = postponed_pair(name='later')\n"
        "for part in (pair, *pair.components().values(), pair.with_end_rule('banned')):\n"
        "    assert part.name and part.fingerprint() and isinstance(pair, HasRefine)\n"
        "print(sorted({'torch', 'transformers', 'tokenizers'} & set(sys.modules)))"
    )
    shown = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT, timeout=120, check=False
    )
    assert shown.stdout.strip() == "[]", shown.stderr


class TestFingerprint:
    def test_is_the_same_for_the_same_files_whatever_the_batch(self):
        assert pair().fingerprint() == pair(batch_size=1).fingerprint() == fingerprint(pair())

    @pytest.mark.parametrize(
        "given",
        [{"k": 50.0}, {"steps": 5}, {"dtype": "float64"}, {"ban_eos": True}, {"backend_options": {"stop": "x"}}],
    )
    def test_changes_with_every_setting(self, given):
        assert pair(**given).fingerprint() != pair().fingerprint()

    @pytest.mark.parametrize("file", ["model.safetensors", "tokenizer.json", "config.json", "tokenizer_config.json"])
    @pytest.mark.parametrize("changed", ["drafter", "refiner"])
    def test_changes_with_every_file_of_the_part_and_no_other(self, tmp_path, changed, file):
        folders = {}
        for role in ("drafter", "refiner"):
            folders[role] = tmp_path / role
            shutil.copytree(ROOT / "fixtures" / "nano" / role, folders[role])
        before = {role: part.fingerprint() for role, part in parts(postponed(*folders.values())).items()}
        path = folders[changed] / file
        path.write_bytes(path.read_bytes()[:-1] + b"\0")
        after = {role: part.fingerprint() for role, part in parts(postponed(*folders.values())).items()}
        assert {role for role in before if before[role] != after[role]} == {"pipeline", changed}

    def test_changes_with_the_code(self, monkeypatch):
        before = pair().fingerprint()
        monkeypatch.setattr(module, "_code_digest", lambda: "another")
        assert pair().fingerprint() != before

    def test_parts_share_none(self, later):
        assert len({part.fingerprint() for part in parts(later).values()}) == 3


class TestLoading:
    def test_happens_once_whoever_asks(self):
        loads, made = [], []
        once = module._Once(lambda: loads.append(1) or object())
        threads = [threading.Thread(target=lambda: made.append(once())) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(loads) == 1
        assert len(set(map(id, made))) == 1

    def test_that_fails_fails_where_it_is_asked(self, tmp_path):
        empty = postponed(tmp_path, tmp_path)
        assert empty.fingerprint()
        with pytest.raises(CheckpointError):
            empty.generate(PROMPTS, **ASKED)

    def test_refuses_unknown_settings(self):
        with pytest.raises(InputError, match="no such setting"):
            pair(unheard_of=1).generate(PROMPTS, **ASKED)
