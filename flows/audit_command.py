"""The audits of many runs of one gate, pooled."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tiling.errors import BadInput

if TYPE_CHECKING:
    from downstream.audit import Audit
    from storage.plan import RunPlan
    from storage.run import Run

Runs = Annotated[list[str], typer.Argument(help="Folders of finished runs of one gate, in the order they were made.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object for programs, nothing else.")]


def audit(runs: Runs, as_json: AsJson = False) -> None:
    """Pool the audits of many runs of one gate: what it misses, run by run, with bounds that hold at every time."""
    found = pool_runs(runs)
    print(json.dumps(found, indent=2) if as_json else "\n".join(pool_lines(found)))


def pool_runs(folders: Sequence[str]) -> dict[str, Any]:
    """Per class and run: what its own audit found, and the bound of all runs up to it. Raises BadInput for mixtures."""
    from downstream.audit import CONFIDENCE
    from storage.run import Run

    opened = [Run.open(folder) for folder in folders]
    require_one_gate(opened)
    plan, told = opened[0].plan, [audited_run(run) for run in opened]
    rows = [
        {
            "run": each.uri,
            "rejected": each.audit.area,
            "tiles": len(each.audit.draws),
            "classes": [class_row(told[: i + 1], column, name) for column, name in enumerate(plan.classes)],
            "draws": draw_rows(each),
        }
        for i, each in enumerate(told)
    ]
    gate = {"model": plan.models["gate"]["name"], "sha256": plan.models["gate"]["sha256"]}
    settings = {
        "threshold": plan.recipe["gate"]["threshold"],
        "confidence": CONFIDENCE,
        "design": "empirical Bernstein",
    }
    return {"gate": gate | settings, "runs": rows}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class AuditedRun:
    """The audit of one run."""

    uri: str
    """Where the run is."""
    audit: Audit
    """What was drawn."""
    found: tuple[list[float | None], ...]
    """Per class: area in each tile drawn, None = not segmented."""


def audited_run(run: Run) -> AuditedRun:
    """Drawn again from the records of a run."""
    from downstream.summary import found_in
    from flows.audited import audit_of
    from flows.recipe import planned_recipe
    from flows.results import ledger_tiles

    tiles = ledger_tiles(run)
    audit = audit_of(run.plan, planned_recipe(run.plan.recipe), tiles)
    found = tuple(found_in(audit, tiles, column) for column in range(len(run.plan.classes)))
    return AuditedRun(uri=run.uri, audit=audit, found=found)


def draw_rows(run: AuditedRun) -> list[dict[str, Any]]:
    """Every audited tile in the order of the draw: what anybody needs to compute an estimate of their own."""
    return [
        {"tile": list(draw.key), "area": draw.area, "chance": draw.chance, "found": [each[i] for each in run.found]}
        for i, draw in enumerate(run.audit.draws)
    ]


def class_row(runs: Sequence[AuditedRun], column: int, name: str) -> dict[str, Any]:
    """One class after the last of these runs: what that run's audit says, and what all of them say together."""
    import numpy as np

    from downstream.audit import estimate_missed
    from downstream.audit_pool import pool, shares_of

    last = runs[-1]
    fullest, emptiest = (
        np.concatenate([shares_of(run.audit, run.found[column], holes=holes) for run in runs]) for holes in (1.0, 0.0)
    )
    missed = estimate_missed(last.audit, last.found[column])
    return {
        "name": name,
        "missed": None if missed is None else asdict(missed),
        "not_segmented": last.found[column].count(None),
        "pooled": asdict(pool(fullest, emptiest)) if len(fullest) else None,
    }


def require_one_gate(runs: Sequence[Run]) -> None:
    """Raise BadInput unless all runs asked one question of one gate, each once and audited to its end."""
    seen = dict[str, str]()
    for run in runs:
        plan = run.plan
        if plan.fingerprint in seen:
            raise BadInput(f"{run.uri} and {seen[plan.fingerprint]} are one run: its audit counts once. Leave one out.")
        seen[plan.fingerprint] = run.uri
        if run.summary() is None:
            raise BadInput(
                f"{run.uri} is not finished: what its audit will find is open. First: tilegate resume {run.uri}"
            )
        for name, ours, theirs in zip(ASKED, asked(runs[0].plan), asked(plan), strict=True):
            if ours != theirs:
                raise BadInput(
                    f"{run.uri} has {name} {theirs}, {runs[0].uri} has {ours}: what one gate misses says nothing about "
                    "another. Pool the runs of each alone."
                )
    if not any(run.plan.recipe["audit"]["tiles"] for run in runs):
        raise BadInput("no run has an audit (audit.tiles = 0 in all recipes): there is nothing to pool.")


ASKED = ("gate.sha256", "gate.cut", "gate.threshold", "gate.positive", "gate.ring", "segmenter.sha256", "segment.cut", "classes")  # fmt: skip
"""What pooled runs have in common."""


def asked(plan: RunPlan) -> tuple[Any, ...]:
    """The values of ASKED."""
    gate, segment = plan.recipe["gate"], plan.recipe["segment"]
    return (
        plan.models["gate"]["sha256"],
        *(gate.get(key) for key in ("cut", "threshold", "positive", "ring")),
        plan.models["segmenter"]["sha256"],
        segment.get("cut"),
        tuple(plan.classes),
    )


def pool_lines(found: dict[str, Any]) -> list[str]:
    """For a person: one line per run and class."""
    gate = found["gate"]
    lines = [
        f"{gate['model']} at {gate['threshold']:g}: share of the rejected area that it should not have rejected,",
        f"mean over all tiles audited up to each run, with bounds at {100 * gate['confidence']:g} % that hold at all times",
    ]
    for row in found["runs"]:
        for each in row["classes"]:
            at = each["pooled"]
            told = "no audit" if at is None else f"{at['tiles']:>7,} tiles  {percent(at['estimate'])}  ({percent(at['low'])} to {percent(at['high'])})"  # fmt: skip
            lines.append(f"{told}  {each['name']}  {row['run']}")
    return lines


def percent(share: float) -> str:
    """Such as 0.42 %."""
    return f"{100 * share:.3g} %"
