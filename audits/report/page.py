"""The page of a report: one HTML file with its style, its script and its figures inside, nothing fetched."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from audits.report.curves import curve_groups, part_name
from audits.report.flow_diagram import flow_diagram
from audits.report.forest import forest_plots, outcome_class
from audits.report.matrix import matrices, source_title
from audits.report.svg import printable, short
from audits.report.token_view import token_view
from audits.verdict_table import effect_text, interval_text
from audits.verdicts import Outcome

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import jinja2

    from audits.report.model import Measurement, Report, ReportedClaim, ReportedVerdict, TableRow

_HERE = Path(__file__).resolve().parent


def render(report: Report) -> str:
    """Return the page as text.

    Everything that came from outside (completions, names, reasons) is escaped, and characters that would vanish or
    turn the text around them are shown by name.
    """
    claims = {claim.id: claim for claim in report.claims}
    return _template().render(
        report=report,
        style=_resource("page.css"),
        script=_resource("page.js"),
        outcomes=[
            (outcome.value, outcome_class(outcome.value), sum(v.outcome == outcome.value for v in report.verdicts))
            for outcome in Outcome
        ],
        facts=_facts(report),
        matrices=matrices(claims, report.verdicts),
        sections=[_section(name, claims.get(name), report) for name in dict.fromkeys(v.claim for v in report.verdicts)],
        curves=curve_groups(report.measurements),
        flows=[(flow, flow_diagram(flow)) for flow in report.flows],
        views=[token_view(example) for example in report.examples],
        tables=_tables(report.tables),
        failed=[audit for audit in report.audits if audit.outcome in ("failed", "error")],
        undecided=_undecided(report),
        effect=lambda v: effect_text(_plain(v)),
        interval=lambda v: interval_text(_plain(v)),
        p_value=_p_value,
        kind=outcome_class,
        source_title=source_title,
        part_name=part_name,
        figure=short,
        percent=_percent,
    )


def _section(name: str, claim: ReportedClaim | None, report: Report) -> dict[str, Any]:
    verdicts = [v for v in report.verdicts if v.claim == name]
    signatures: dict[str, list[str]] = {}
    for v in verdicts:
        if v.signature:
            signatures.setdefault(v.signature, []).append(f"{v.system} on {v.benchmark}")
    return {
        "name": name,
        "claim": claim,
        "verdicts": verdicts,
        "figures": forest_plots(claim, verdicts),
        "signatures": list(signatures.items()),
        "outcomes": " ".join(sorted({outcome_class(v.outcome) for v in verdicts})),
        "sources": " ".join(sorted({v.source for v in verdicts})),
        "says": _says(claim),
    }


def _says(claim: ReportedClaim | None) -> str:
    """Return what the claim says of its effect, in words."""
    if claim is None:
        return ""
    margin = f"{short(claim.margin)} {claim.unit}"
    if claim.direction == 0:
        return f"the effect is within {margin} of 0" if claim.margin else "the effect is 0"
    word = "above" if claim.direction > 0 else "below"
    end = f"{'' if claim.direction > 0 else '-'}{margin}" if claim.margin else "0"
    return f"the effect is {word} {end}"


def _facts(report: Report) -> list[tuple[str, str]]:
    run = report.run
    facts = [("made by", f"SpecRef {run.version}")]
    if run.started:
        facts.append(("run", run.started.replace("T", " ").replace("Z", " UTC")))
    if run.seconds is not None:
        facts.append(("wall clock", f"{run.seconds:.0f} s"))
    if run.mode:
        facts.append(("mode", run.mode))
    if run.generator:
        facts.append(("generator", run.generator))
    if run.seed is not None:
        facts.append(("seed", str(run.seed)))
    if run.origin == "audits":
        facts.append(("problems a benchmark", "each audit's own" if run.limit is None else str(run.limit or "all")))
    if run.ledgers:
        facts.append(("samples in", ", ".join(run.ledgers)))
    if report.audits:
        facts.append(("audits", _counted(report)))
    return facts


def _counted(report: Report) -> str:
    outcomes = [audit.outcome for audit in report.audits]
    words = {"passed": "passed", "xfailed": "expected failures", "failed": "failed", "error": "errors"}
    words["skipped"] = "skipped"
    return ", ".join(f"{outcomes.count(outcome)} {word}" for outcome, word in words.items() if outcome in outcomes)


def _tables(rows: Sequence[TableRow]) -> list[dict[str, Any]]:
    tables = []
    for title in dict.fromkeys(row.title for row in rows):
        chosen = [row for row in rows if row.title == title]
        columns = list(dict.fromkeys(column for row in chosen for column in row.cells))
        tables.append({"title": title, "columns": columns, "rows": chosen})
    return tables


def _undecided(report: Report) -> list[tuple[str, list[str]]]:
    """Return why audits were skipped without a verdict, with the audits, one entry a reason."""
    # An inconclusive verdict is a skip too; it stands in its claim's table already.
    told = tuple(f"{v.claim}, {v.system} on {v.benchmark}: {v.outcome}" for v in report.verdicts)
    reasons: dict[str, list[str]] = {}
    for audit in report.audits:
        if audit.outcome == "skipped" and not audit.reason.startswith(told):
            reasons.setdefault(audit.reason, []).append(audit.id)
    return list(reasons.items())


def _plain(verdict: ReportedVerdict) -> Mapping[str, Any]:
    return {name: getattr(verdict, name) for name in ("effect", "unit", "low", "high")}


def _p_value(verdict: ReportedVerdict) -> str:
    if verdict.p_value is None:
        return "–"
    return f"{verdict.p_value:.2g}" if verdict.p_value else "<1e-300"


def _percent(measured: Measurement) -> str:
    if measured.score is None or measured.low is None or measured.high is None:
        return "–"
    return f"{100 * measured.score:.1f} [{100 * measured.low:.1f}, {100 * measured.high:.1f}]"


@cache
def _template() -> jinja2.Template:
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_HERE),
        autoescape=True,
        finalize=_finalize,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("page.html")


def _finalize(value: object) -> object:
    return printable(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _resource(name: str) -> Markup:
    # Ours, and written between tags of its own.
    return Markup((_HERE / name).read_text(encoding="utf-8"))  # noqa: S704  # a file of this package, no outside text
