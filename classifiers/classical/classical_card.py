"""The model card of a classical gate: what it sees, what decides, and what that was worth. Measured figures only."""

from __future__ import annotations

from collections.abc import Mapping

from classifiers.bundle_contract import Bundle, ClassifierName, FeatureName
from classifiers.classical.arrays import Arrays
from classifiers.classical.fit_classifier import AXES_MOST, TREES, Values
from classifiers.classical.fit_codebook import GAUSSIANS, WORDS
from classifiers.classical.patches import PATCH_PX
from classifiers.training.card import Told, data_section, figures_section, thresholds_section, valid_section, wrap
from classifiers.training.measure_gate import Measured

FEATURES: Mapping[FeatureName, str] = {
    "colour": "colour (moments, quantiles and histogram of each band, differences and correlations of bands)",
    "lbp": "uniform local binary patterns at three radii",
    "glcm": "grey-level co-occurrence (contrast, homogeneity, energy, correlation)",
    "hog": "histograms of oriented gradients, pooled over the tile",
    "words": f"a bag of {WORDS} visual words of {PATCH_PX} px patches",
    "fisher": f"Fisher vectors of {PATCH_PX} px patches ({GAUSSIANS} Gaussians)",
}
CLASSIFIERS: Mapping[ClassifierName, str] = {
    "logistic": "logistic regression",
    "svm": f"support vector machines with a Gaussian kernel on the first {AXES_MOST} principal axes",
    "knn": f"the nearest training tiles on the first {AXES_MOST} principal axes, weighed by one over their distance",
    "tree": "a decision tree",
    "forest": f"a random forest of {TREES} trees, the same number of leaves each at most",
}


def classical_card(bundle: Bundle, measured: Measured, about: Told, arrays: Arrays, values: Values) -> str:
    """README.md; `{sha256}` is filled in when it is written. values: the hyperparameters that were chosen."""
    size, classes = bundle.pixel_size, ", ".join(bundle.classes)
    job = about.recipe.model.job or f"Says how likely a tile holds: {classes}."
    kind = "Exactly one of them (softmax)" if bundle.activation == "softmax" else "Each by itself (sigmoid)"
    return wrap(f"""# {bundle.name}

{job}

Classes: {classes}. {kind}. Tiles of {bundle.input_px} px at {size.text}; features do not depend on the side of a tile,
but what scores are worth at another was not measured.

{_model(bundle, arrays, values)}

{figures_section(bundle, measured, about)}

{thresholds_section(bundle, measured)}

{data_section(bundle, about)}

{valid_section(bundle, about)}

{_again(about)}""")


def _model(bundle: Bundle, arrays: Arrays, values: Values) -> str:
    settings = bundle.hyperparameters
    seen = "\n- ".join(words for name, words in FEATURES.items() if name in _names(settings["features"]))
    decides = next(words for name, words in CLASSIFIERS.items() if name == settings["classifier"])
    chosen = ", ".join(f"{name} {value:g}" for name, value in values.items())
    parents = " A parent is at least as probable as its child." if "parents" in settings else ""
    return f"""## Without a network

A tile is described by {len(arrays["scale.mean"])} numbers:

- {seen}

What decides is {decides}; cross-validation that keeps groups together chose {chosen}. It was fitted with scikit-learn
and runs in numpy alone.{parents} All that was learnt is arrays in model.safetensors."""


def _names(value: str | int | tuple[int, ...] | tuple[str, ...]) -> tuple[int | str, ...]:
    assert isinstance(value, tuple)
    return value


def _again(about: Told) -> str:
    command = about.command or "(the command was not recorded; the recipe is in training.json, if it lies here)"
    return f"""## Make it again

    {command}

Seeded ({about.recipe.fit.seed}): with the same versions of scikit-learn and numpy the same bytes; with others, slightly
different ones.

sha256 of model.safetensors: `{{sha256}}`"""
