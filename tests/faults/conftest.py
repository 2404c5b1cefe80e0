"""What the tests of faults share: their helpers by name, and the count of what was tried."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # tests are no package: `from zygote import Zygote` finds it here


@pytest.fixture
def zygote(tmp_path_factory: pytest.TempPathFactory) -> Iterator[object]:
    """A fork server of its own."""
    from zygote import Zygote

    with Zygote(tmp_path_factory.mktemp("zygote")) as started:
        yield started


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """What was injected and survived, and one line per kind of input that was fuzzed."""
    trials, counts = sys.modules.get("fuzz_trials"), sys.modules.get("counts")
    lines = [*(counts.COUNTS if counts else []), *(trials.tally_lines() if trials and trials.TALLY else [])]
    if lines:
        terminalreporter.section("faults")
        terminalreporter.write_line("\n".join(lines))
