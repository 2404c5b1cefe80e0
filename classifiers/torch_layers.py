"""What a network is wrapped in: part of it in training, in prediction and when it is exported."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import nn
from torch.nn import functional


class Wrapped(nn.Module):
    """A network inside another layer."""

    network: nn.Module

    def __init__(self, network: nn.Module) -> None:
        """network: what is inside."""
        super().__init__()
        self.network = network


class Zoomed(Wrapped):
    """A network that sees its input enlarged: filters learnt on photographs find more in small tiles that way."""

    def __init__(self, network: nn.Module, zoom: int, *, dense: bool = False) -> None:
        """zoom: times larger, bilinear. dense: the answer (n, channels, h, w) is made as small as the input again."""
        super().__init__(network)
        self.zoom, self.dense = zoom, dense

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """pixels: (n, band, h, w)."""
        large = functional.interpolate(pixels, scale_factor=float(self.zoom), mode="bilinear", align_corners=False)
        answer: torch.Tensor = self.network(large)
        return functional.avg_pool2d(answer, self.zoom) if self.dense else answer


class Turned(Wrapped):
    """A network that looks at a tile in several of the eight ways a square can be laid, and answers with the mean.

    Where up and down mean nothing the way a tile happens to lie is noise in the answer. While it learns it looks once:
    augmentation turns the tiles then.
    """

    def __init__(self, network: nn.Module, views: Literal[2, 4, 8]) -> None:
        """network: gives logits (n, classes). views: 2 = as it is and upside down, 4 = all turns, 8 = mirrored, too."""
        super().__init__(network)
        self.views = views

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """pixels: (n, band, h, w); squares where there are more than two views."""
        if self.training:
            once: torch.Tensor = self.network(pixels)
            return once
        across = pixels.transpose(2, 3)
        ways = [pixels, pixels.flip(2, 3), across.flip(2), across.flip(3)]
        ways += [pixels.flip(3), pixels.flip(2), across, across.flip(2, 3)]
        answers: torch.Tensor = self.network(torch.cat(ways[: self.views]))  # one pass: exported, it is one network
        return answers.reshape(self.views, -1, answers.shape[1]).mean(dim=0)


class Coherent(Wrapped):
    """A parent is at least as probable as its child: its logit is the largest of its own and its descendants'.

    Giunchiglia and Lukasiewicz 2020, "Coherent Hierarchical Multi-Label Classification Networks", eq. 3.
    """

    below: torch.Tensor

    def __init__(self, network: nn.Module, parents: Sequence[int]) -> None:
        """network: gives logits (n, classes). parents: per class the position of its parent, -1 = it has none."""
        super().__init__(network)
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


def innermost(network: nn.Module) -> nn.Module:
    """What is wrapped in all the others."""
    while isinstance(network, Wrapped):
        network = network.network
    return network
