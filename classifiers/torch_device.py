"""Where torch computes."""

from __future__ import annotations

import torch


def pick_device(name: str | None = None) -> torch.device:
    """name: such as cpu or cuda:1; None = CUDA where there is one, else the CPU."""
    return torch.device(name or ("cuda" if torch.cuda.is_available() else "cpu"))
