"""Training recipes: what is learnt and how. TOML, validated, changed by --set as the recipes of runs are."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal, get_args, get_type_hints

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from classifiers.training.settings import TrainingRecipe
from flows.recipe import _change as change
from flows.recipe import _read as read
from tiling.errors import BadInput

Kind = Literal["gate", "segmenter"]
ENCODER = "tu-tf_efficientnet_lite0"
"""Of a segmenter whose recipe names none."""
MAX_BYTES = 16 * 2**20
"""A larger training.json is not ours."""
UNKNOWN = {"extra_forbidden", "unexpected_keyword_argument"}
FOR_MASKS = ("dice", "tversky")
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")


class _Document(BaseModel):
    """The dataclasses inherit what it says: unknown keys are refused, and numbers that are none."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False, frozen=True)

    recipe: TrainingRecipe


def bundled_training_recipes() -> dict[str, Path]:
    """Training recipes that come with tilegate, by name."""
    folder = Path(str(files("flows") / "training_recipes"))
    return {path.stem: path for path in sorted(folder.glob("*.toml"))}


def load_training_recipe(name_or_path: str, changes: tuple[str, ...] = ()) -> TrainingRecipe:
    """A bundled training recipe by name, a TOML file, or a training.json, with "key.sub=value" changes. Raises BadInput."""
    bundled = bundled_training_recipes()
    path = bundled.get(name_or_path, Path(name_or_path))
    try:
        plain = _parsed(path)
    except FileNotFoundError:
        raise BadInput(f"no training recipe {name_or_path}: neither a file nor one of {', '.join(bundled)}") from None
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise BadInput(f"training recipe {path} is not readable: {error}") from error
    return training_recipe(changed(plain, changes), f"training recipe {path}")


def _parsed(path: Path) -> dict[str, Any]:
    """Raises ValueError for what is neither TOML nor a training.json."""
    if path.suffix != ".json":
        return tomllib.loads(read(path).decode())
    plain = json.loads(path.read_bytes())["recipe"] if path.stat().st_size <= MAX_BYTES else None
    if not isinstance(plain, dict):
        raise ValueError("there is no recipe in it")  # noqa: TRY004 (of the same kind as all it may be)
    return plain


def changed(plain: dict[str, Any], changes: tuple[str, ...]) -> dict[str, Any]:
    """The same tables after "key.sub=value" changes. Raises BadInput for one that cannot be read."""
    for text in changes:
        change(plain, text)
    return plain


def training_recipe(plain: dict[str, Any], whose: str) -> TrainingRecipe:
    """Checked settings out of TOML or JSON. whose: where they come from, for messages. Raises BadInput."""
    network = plain.get("network", {})
    if plain.get("kind") == "segmenter" and isinstance(network, dict):
        plain = plain | {"network": {"architecture": ENCODER} | network}
    try:
        recipe = _Document.model_validate({"recipe": plain}).recipe
    except ValidationError as error:
        raise BadInput(f"{whose}: {_explain(error)}") from error
    wrong = "; ".join(_contradictions(recipe))
    if wrong:
        raise BadInput(f"{whose}: {wrong}")
    return recipe


def as_json(recipe: TrainingRecipe) -> dict[str, Any]:
    """Plain values that training_recipe makes the same recipe of."""
    return dict(TypeAdapter(TrainingRecipe).dump_python(recipe, mode="json"))


def _contradictions(recipe: TrainingRecipe) -> Iterator[str]:
    """What no key can tell alone, and what would otherwise show when the training is over."""
    if not NAME.fullmatch(recipe.model.name):
        yield f"model.name {recipe.model.name!r} must be a plain name: at most 64 letters, digits, '_', '.' and '-'"
    if recipe.kind == "segmenter" and recipe.classical is not None:
        yield "[classical] is for gates; a segmenter is a network"
    if recipe.kind == "gate" and recipe.classical is None and recipe.fit.loss in FOR_MASKS:
        yield f"fit.loss = {recipe.fit.loss!r} is for masks; gates learn with cross-entropy or focal"
    if recipe.kind == "segmenter" and (recipe.augment.mixup or recipe.augment.cutmix):
        yield "augment.mixup and augment.cutmix are for gates: a mixture of two masks is no mask"
    if recipe.split.validation + recipe.split.test >= 1:
        yield f"split holds out {recipe.split.validation + recipe.split.test:.0%}: nothing is left to learn from"


def _explain(error: ValidationError) -> str:
    """Pydantic's findings, one line each."""
    lines = []
    for problem in error.errors():
        _, *place = map(str, problem["loc"])
        where = ".".join(place)
        if problem["type"] in UNKNOWN:
            lines.append(f"unknown key {where}; known: {', '.join(_known_keys(place[:-1]))}")
        elif problem["type"].startswith("missing"):
            lines.append(f"{where} is missing")
        elif problem["type"] == "tuple_type":
            lines.append(f"{where}: write a list, such as {_listed(place, problem['input'])}")
        else:
            lines.append(f"{where}: {problem['msg']} (given: {problem['input']!r:.80})")
    return "; ".join(lines)


def _listed(place: list[str], value: object) -> str:
    """One value as the list that was probably meant; a band's has its number, too."""
    return f"{json.dumps([value, 1] if place[:2] == ['data', 'bands'] else [value], default=str):.300}"


def _known_keys(place: list[str]) -> list[str]:
    """Names of the settings in the table at `place`."""
    table: Any = TrainingRecipe
    for part in place:
        kind = get_type_hints(table)[part]
        table = next((each for each in (kind, *get_args(kind)) if is_dataclass(each)), table)
    return [field.name for field in fields(table)]
