"""Sharing micro-batches: one process is the plain case; two processes give the same gradient."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from specref_core.training import parallel

_ROOT = Path(__file__).parents[3]
_PROGRAM = """
import sys, torch
from pathlib import Path
from torch import nn
from specref_core.training import parallel
torch.set_num_threads(1)
meeting, rank = Path(sys.argv[1]), int(sys.argv[2])
parallel.join(meeting, rank, 2)
model = nn.Linear(2, 1, bias=False)
model.weight.grad = torch.tensor([[1.0 + rank, 10.0]])
mine = list(parallel.share(range(4)))
loss, tokens = parallel.reduce_gradients(model, 0.5 + rank, 3)
print(parallel.rank(), mine, model.weight.grad.tolist(), loss, tokens)
parallel.leave()
"""


def test_alone_nothing_is_shared():
    model = nn.Linear(2, 1)
    assert parallel.rank() == 0
    assert list(parallel.share(range(5))) == [0, 1, 2, 3, 4]
    assert parallel.reduce_gradients(model, 1.5, 7) == (1.5, 7)
    parallel.leave()
    parallel.wait()


def test_two_processes_share_batches_and_add_gradients(tmp_path):
    if not torch.distributed.is_gloo_available():
        pytest.skip("this torch has no gloo")
    runs = [
        subprocess.Popen(
            [sys.executable, "-c", _PROGRAM, str(tmp_path / "meeting"), str(rank)],
            cwd=_ROOT,
            stdout=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    said = [run.communicate(timeout=120)[0].strip() for run in runs]
    assert said == ["0 [0, 2] [[3.0, 20.0]] 2.0 6", "1 [1, 3] [[3.0, 20.0]] 2.0 6"]
