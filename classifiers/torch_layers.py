"""What a network is wrapped in: part of it in training, in prediction and when it is exported."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional


class Zoomed(nn.Module):
    """A network that sees its input enlarged: filters learnt on photographs find more in small tiles that way."""

    def __init__(self, network: nn.Module, zoom: int, *, dense: bool = False) -> None:
        """zoom: times larger, bilinear. dense: the answer (n, channels, h, w) is made as small as the input again."""
        super().__init__()
        self.network, self.zoom, self.dense = network, zoom, dense

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """pixels: (n, band, h, w)."""
        large = functional.interpolate(pixels, scale_factor=float(self.zoom), mode="bilinear", align_corners=False)
        answer: torch.Tensor = self.network(large)
        return functional.avg_pool2d(answer, self.zoom) if self.dense else answer


class Coherent(nn.Module):
    """A parent is at least as probable as its child: its logit is the largest of its own and its descendants'.

    Giunchiglia and Lukasiewicz 2020, "Coherent Hierarchical Multi-Label Classification Networks", eq. 3.
    """

    below: torch.Tensor

    def __init__(self, network: nn.Module, parents: Sequence[int]) -> None:
        """network: gives logits (n, classes). parents: per class the position of its parent, -1 = it has none."""
        super().__init__()
        self.network = network
        self.register_buffer("below", descendants(parents), persistent=False)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """pixels: (n, band, h, w)."""
        logits: torch.Tensor = self.network(pixels)
        return torch.where(self.below, logits[:, None, :], torch.full_like(logits, -1e4)[:, None, :]).amax(dim=2)


def descendants(parents: Sequence[int]) -> torch.Tensor:
    """(classes, classes) bool: whether the second is the first or below it."""
    found = torch.eye(len(parents), dtype=torch.bool)
    for child in range(len(parents)):
        above = parents[child]
        while above >= 0:
            found[above, child] = True
            above = parents[above]
    return found
