"""A small report with one of everything, and texts that would break a page that trusts them."""

from __future__ import annotations

from audits.report.model import (
    AuditOutcome,
    DraftToken,
    Example,
    Flow,
    MeanCost,
    Measurement,
    Position,
    Report,
    ReportedClaim,
    ReportedVerdict,
    Run,
    TableRow,
)

HOSTILE = '</script><script>window.broken=1</script><img src=x onerror="window.broken=1">&\u202e\x00\x1b[31m'
"""Ends scripts, starts elements, turns text around, and holds characters that no page may hold."""
LONG = "a_name_without_any_blank_" * 8


def verdict(outcome="reproduced", **changes):
    """Return a verdict; every field may be named."""
    fields = {
        "claim": "step-swing",
        "system": "nano",
        "benchmark": "nano-code",
        "source": "nano",
        "outcome": outcome,
        "effect": 56.25,
        "low": 45.0,
        "high": 66.5,
        "n": 80,
        "p_value": 1e-9,
        "test": "exact McNemar",
        "unit": "points",
        "reason": "of 80 problems: 32 at S=8, 77 at S=64",
        "n_needed": 500 if outcome == "inconclusive" else None,
        "signature": "system:nano|n:80",
    }
    return ReportedVerdict(**{**fields, **changes})


def measured(part, steps, correct, passes, **changes):
    """Return a measurement of eighty problems."""
    fields = {
        "source": "nano",
        "system": "nano",
        "part": part,
        "benchmark": "nano-code",
        "settings": "",
        "steps": steps,
        "n": 80,
        "planned": 80,
        "correct": correct,
        "score": correct / 80,
        "low": max(0.0, correct / 80 - 0.1),
        "high": min(1.0, correct / 80 + 0.1),
        "cost": None if passes is None else MeanCost(passes, passes, 20.0, 0.1, passes / 10),
        "failures": {"wrong-answer": 80 - correct} if correct < 80 else {},
        "signature": f"system:nano {part}|steps:{steps}",
    }
    return Measurement(**{**fields, **changes})


def example(kind="broken", **changes):
    """Return a problem of four positions, written in three steps."""
    fields = {
        "source": "nano",
        "system": "nano",
        "benchmark": "nano-arithmetic",
        "steps": 8,
        "task_id": "nano-arithmetic/test/1",
        "kind": kind,
        "prompt": "What is 1 + 1?",
        "expected": "2",
        "answer": "3",
        "failure": "" if kind in ("fixed", "kept right", "right") else "wrong-answer",
        "draft": (DraftToken("So ", 0.1), DraftToken("2", 1.5), DraftToken("\n", None), DraftToken("", 0.0)),
        "positions": (
            Position("So ", "So ", 0.02, False, 0),
            Position("2", "3", 0.4, True, 3),
            Position("\n", "\n", 0.0, True, 1),
            Position("", "", 0.0, True, 2),
        ),
    }
    return Example(**{**fields, **changes})


CLAIM = ReportedClaim(
    id="step-swing",
    statement="Accuracy of one model swings by more than 30 points across step counts.",
    source="section 4.4",
    family="steps",
    direction=1,
    margin=30.0,
    unit="points",
    needs=("scores",),
    decided_by="interval of highest minus lowest score",
    hazard=True,
)


def small_report(**changes):
    """Return a report with one of everything; ``changes`` replace its parts."""
    parts = {
        "run": Run(origin="audits", version="0.1.0", started="2026-01-01T00:00:00Z", seconds=3.5, mode="reproduce"),
        "claims": (CLAIM,),
        "verdicts": (
            verdict(),
            verdict("not reproduced", benchmark="nano-arithmetic", effect=1.25, low=-6.3, high=9.1),
            verdict("inconclusive", source="published", system="SpecRef", benchmark="HumanEval", low=None, high=None),
            verdict(claim="strip-destroys", source="custom", system=HOSTILE, benchmark=LONG, reason=HOSTILE),
        ),
        "audits": (
            AuditOutcome("test_a.py::test_a[x]", ("step-swing",), "nano", "passed", ""),
            AuditOutcome(f"test_b.py::test_b[{HOSTILE}]", (), "custom", "failed", HOSTILE),
            AuditOutcome("test_c.py::test_c", (), "custom", "skipped", "no components(); add it to enable this"),
        ),
        "tables": (TableRow("percent of 80", "nano drafter", {"parses": "100", "right": "78"}),),
        "measurements": (
            measured("pipeline", 8, 32, 8.0),
            measured("pipeline", 64, 77, 22.0),
            measured("refiner", 8, 0, 8.0),
            measured("refiner", 64, 80, 64.0),
            measured("drafter", None, 62, 27.0),
            measured(HOSTILE, 8, 40, None),
        ),
        "flows": (Flow("nano", "nano", "nano-code", 8, 26, 36, 6, 12, 0, 62, "system:nano"),),
        "examples": (example(), example("fixed", prompt=HOSTILE, task_id=HOSTILE)),
    }
    return Report(**{**parts, **changes})
