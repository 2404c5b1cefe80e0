"""The gate without weights: the share of a tile above a rule."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from classifiers.protocol import Classifier
from classifiers.rules import Rule
from tiling.stack import TileStack


class RuleGate:
    """Scores a tile by the share of its valid pixels where the rule is positive."""

    def __init__(self, rule: Rule) -> None:
        """rule: with its cut fitted."""
        self._rule = rule
        self.model, self.bands = rule.model, rule.bands
        self.classes: tuple[str, ...] = (rule.label,)

    def score(self, stack: TileStack) -> NDArray[np.float32]:
        """See Classifier. 0 for a tile without valid pixels."""
        positive = (self._rule.positive(stack.pixels) & stack.valid).sum((1, 2))
        valid = stack.valid.sum((1, 2))
        return np.asarray(positive / np.maximum(valid, 1), np.float32)[:, None]


_: type[Classifier] = RuleGate
