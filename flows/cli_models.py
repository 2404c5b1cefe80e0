"""The commands that train, measure and explain models."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from flows.stopping import Stopped

Kind = Annotated[Literal["gate", "segmenter"], typer.Argument(help="What decides about tiles, or what maps pixels.")]
Data = Annotated[
    str,
    typer.Argument(
        help="Labels as you have them: folders per class, a CSV or GeoPackage, images with masks, polygons over a scene."
    ),
]
Model = Annotated[str, typer.Argument(help="A rule, the name of a bundle that comes with tilegate, or its folder.")]
Changes = Annotated[list[str], typer.Option("--set", help="Change the recipe: fit.epochs=3. May be repeated.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object for programs, nothing else.")]
Runtime = Literal["auto", "openvino-bf16", "openvino-f32", "openvino-int8", "torch", "numpy"]
Recipe = Annotated[str, typer.Option("--recipe", "-r", help="A training recipe by name, or its TOML file.")]


def train(
    kind: Kind,
    data: Data,
    out: Annotated[str, typer.Option(help="Folder of the bundle; the same command again goes on where it stopped.")],
    recipe: Recipe = "",
    changes: Changes = [],  # noqa: B006 (typer reads the default, nobody mutates it)
    engine: Annotated[
        Literal["local", "prefect"] | None,
        typer.Option(help="Who runs it; Prefect when an API is configured, this process otherwise."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Learn a gate or a segmenter from labelled data: a bundle with its card and its measured figures."""
    from flows.training.commands import train as learn
    from flows.training.display import evaluation_lines, usage_line

    try:
        figures = learn(kind, data, recipe, tuple(changes), out, engine, quiet=as_json)
    except Stopped as stopped:
        print(f"tilegate: stopped; the same command goes on from the last epoch in {out}", file=sys.stderr, flush=True)
        raise typer.Exit(128 + stopped.number) from None
    tell(figures, [*evaluation_lines(figures), "", f"{out}/README.md, evaluation.html", usage_line(kind, out)], as_json)


def evaluate(
    kind: Kind,
    model: Annotated[str, typer.Argument(metavar="BUNDLE", help="A rule, a bundled model by name, or a folder.")],
    data: Data,
    recipe: Recipe = "",
    part: Annotated[
        Literal["all", "train", "validation", "test"], typer.Option(help="Of the split that the recipe makes.")
    ] = "all",
    changes: Changes = [],  # noqa: B006
    out: Annotated[Path | None, typer.Option(help="Folder for evaluation.html and evaluation.json.")] = None,
    cut: Annotated[float | None, typer.Option(help="Rules: positive above this instead of the rule's own.")] = None,
    robustness: Annotated[bool, typer.Option("--robustness", help="Also measure on disturbed tiles.")] = False,
    runtime: Annotated[Runtime, typer.Option(help="Bundles: what the network runs on.")] = "auto",
    as_json: AsJson = False,
) -> None:
    """Measure a gate or a segmenter on labelled data."""
    from flows.evaluation.evaluate import evaluate, write_evaluation
    from flows.evaluation.tiles import Asked
    from flows.out_folder import require_folder
    from flows.training.display import evaluation_lines

    if out is not None:
        require_folder(out)
    asked = Asked(
        kind=kind,
        model=as_path(model),
        data=data,
        recipe=recipe,
        part=part,
        changes=tuple(changes),
        cut=cut,
        robustness=robustness,
        runtime=runtime,
    )
    found = evaluate(asked)
    lines = evaluation_lines(found.figures)
    if out is not None:
        write_evaluation(found, out)
        lines += ["", f"{out}/evaluation.html, evaluation.json"]
    tell(found.figures, lines, as_json)


def explain(
    model: Annotated[str, typer.Argument(metavar="BUNDLE", help="A gate: bundled, by name, or a folder.")],
    tiles: Annotated[list[str], typer.Argument(metavar="TILE...", help="Image files, or RUN_FOLDER#r0003c0007.")],
    out: Annotated[Path, typer.Option(help="Folder for the pictures.")],
    name: Annotated[str, typer.Option("--class", help="The class in question; the likeliest when empty.")] = "",
    method: Annotated[
        Literal["auto", "gradcam", "occlusion"], typer.Option(help="auto: Grad-CAM for networks, else occlusion.")
    ] = "auto",
    changes: Changes = [],  # noqa: B006
    as_json: AsJson = False,
) -> None:
    """Show what a gate looks at in a tile."""
    from flows.explain import explain
    from flows.out_folder import require_folder

    require_folder(out)
    found = explain(as_path(model), tiles, out, name, method, tuple(changes))
    lines = [f"{each.picture}  {each.name} {each.scores[each.name]:.4f} ({each.method})" for each in found]
    tell({"tiles": [each.as_dict() for each in found]}, lines, as_json)


def as_path(model: str) -> str:
    """A folder given without ./ is meant as one where it holds a bundle, and no bundle of tilegate is called so."""
    from flows.models import ENDINGS, shipped

    named = len(model) > 200 or any(model in shipped(room) for room in ENDINGS)
    if "/" not in model and (named or not Path(model, "bundle.json").is_file()):
        return model
    return str(Path(model).expanduser().absolute())


def tell(found: dict[str, Any], lines: list[str], as_json: bool) -> None:
    """One JSON object, or lines for a person."""
    print(json.dumps(found, indent=2) if as_json else "\n".join(lines))
