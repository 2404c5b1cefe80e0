"""A gate as a segmenter: it scores overlapping windows, and what they say about a pixel is averaged.

For labels that speak of patches and not of pixels: the same network then maps area at half a patch.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from classifiers.bundle import Bundle
from classifiers.bundle_contract import RuntimeName
from classifiers.network_gate import open_network_gate
from classifiers.protocol import Classifier
from downstream.protocol import Segmenter
from tiling.stack import MaskStack, TileStack
from tiling.window import Window

HALF = 0.5
"""A pixel is of a class above this: as with any segmenter. A gate's own threshold is chosen to miss little, not to
measure area."""
WINDOWS_AT_ONCE = 256
"""Windows a gate is handed at once."""


class DenseClassifier:
    """A Segmenter that labels each pixel by the mean probability of the windows over it.

    Windows lie on a lattice of half their side that starts at the image's corner, so a pixel is of the same class
    whichever tile it is read with, given a halo of a window's side. With less halo the outermost windows are moved
    inwards, to where there are pixels. A window counts by the share of it that is valid.
    """

    def __init__(self, classifier: Classifier, window_px: int) -> None:
        """window_px: side of the tiles that the classifier was trained on, at least 2."""
        self.model = replace(classifier.model, threshold=None)
        self.bands, self.classes = classifier.bands, classifier.classes
        self._classifier, self._window_px = classifier, window_px

    def segment(self, stack: TileStack) -> MaskStack:
        """See Segmenter. A pixel of no class above one half is background, and so is the halo beyond the windows."""
        labels = np.stack([self._labels(stack.pick([i], range(stack.pixels.shape[1]))) for i in range(len(stack))])
        return MaskStack(tiles=stack.tiles, labels=labels, classes=self.classes)

    def _labels(self, stack: TileStack) -> NDArray[np.uint8]:
        """(h, w) of a stack's one tile."""
        large = _at_least(stack, self._window_px)
        total = np.zeros((len(self.classes), *large.valid.shape[1:]), np.float32)
        weight = np.zeros(large.valid.shape[1:], np.float32)
        for window, share, score in self._scored(large):
            total[:, *window.slices] += share * score[:, None, None]
            weight[window.slices] += share
        mean = total / np.where(weight > 0, weight, 1)
        labels = np.where(mean.max(axis=0) > HALF, mean.argmax(axis=0) + 1, 0)
        height, width = stack.valid.shape[1:]
        return np.asarray(labels[:height, :width] * stack.valid[0], np.uint8)

    def _scored(self, stack: TileStack) -> Iterator[tuple[Window, float, NDArray[np.float32]]]:
        """Windows that hold data, the valid share of each, and its scores (classes,)."""
        (tile,), (pixels,), (valid,) = stack.tiles, stack.pixels, stack.valid
        core = tile.core.relative_to(tile.read)
        rows = window_starts(tile.read.y, valid.shape[0], (core.y, core.y + core.height), self._window_px)
        cols = window_starts(tile.read.x, valid.shape[1], (core.x, core.x + core.width), self._window_px)
        side = self._window_px
        windows = [Window(y=y, x=x, height=side, width=side) for y in rows for x in cols]
        shares = [float(valid[window.slices].mean()) for window in windows]
        held = [(window, share) for window, share in zip(windows, shares, strict=True) if share > 0]
        for start in range(0, len(held), WINDOWS_AT_ONCE):
            some = held[start : start + WINDOWS_AT_ONCE]
            cut = TileStack(
                tiles=(tile,) * len(some),
                pixels=np.stack([pixels[:, *window.slices] for window, _ in some]),
                valid=np.stack([valid[window.slices] for window, _ in some]),
            )
            for (window, share), score in zip(some, self._classifier.score(cut), strict=True):
                yield window, share, score


def window_starts(read_px: int, size_px: int, core_px: tuple[int, int], side_px: int) -> list[int]:
    """Where windows start along one axis, px from the start of the read: all that touch the core and fit into the read.

    read_px: where the read starts on its plane; size_px: its length, at least side_px; core_px: where the core starts
    and ends in it. Together they cover the core.
    """
    step = side_px // 2
    first, last = -read_px % step, size_px - side_px
    starts = [s for s in range(first, last + 1, step) if s + side_px > core_px[0] and s < core_px[1]]
    before = [0] if not starts or starts[0] > core_px[0] else []
    after = [last] if not starts or starts[-1] + side_px < core_px[1] else []
    return sorted({*before, *starts, *after})


def open_dense_classifier(bundle: Bundle, name: RuntimeName) -> DenseClassifier:
    """The gate of a bundle as a segmenter, on the runtime of that name. Raises BadInput for a segmenter's bundle."""
    return DenseClassifier(open_network_gate(bundle, name), bundle.input_px)


def _at_least(stack: TileStack, side_px: int) -> TileStack:
    """The stack, with pixels that are not valid below and to the right where it is smaller than a window."""
    height, width = stack.valid.shape[1:]
    down, right = max(0, side_px - height), max(0, side_px - width)
    if down == right == 0:
        return stack
    grown = ((0, 0), (0, down), (0, right))
    pixels, valid = np.pad(stack.pixels, ((0, 0), *grown)), np.pad(stack.valid, grown)
    return replace(stack, pixels=pixels, valid=valid)


_: type[Segmenter] = DenseClassifier
