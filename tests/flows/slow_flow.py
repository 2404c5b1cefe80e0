"""The flow as a deployment would load it, with a segmenter that takes 1.5 s for each tile."""

from flows.gated_area import gated_area  # noqa: F401
from tests.flows.slow_main import slow_down

slow_down("segment", 1.5)
