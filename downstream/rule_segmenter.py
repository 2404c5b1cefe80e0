"""The expensive step without weights: the rule, pixel by pixel."""

from __future__ import annotations

import numpy as np

from classifiers.rules import Rule
from downstream.protocol import Segmenter
from tiling.stack import MaskStack, TileStack


class RuleSegmenter:
    """Label 1 where the rule is positive on a valid pixel."""

    def __init__(self, rule: Rule) -> None:
        """rule: with its cut fitted."""
        self._rule = rule
        self.model, self.bands = rule.model, rule.bands
        self.classes: tuple[str, ...] = (rule.label,)

    def segment(self, stack: TileStack) -> MaskStack:
        """See Segmenter."""
        labels = (self._rule.positive(stack.pixels) & stack.valid).astype(np.uint8)
        return MaskStack(tiles=stack.tiles, labels=labels, classes=self.classes)


_: type[Segmenter] = RuleSegmenter
