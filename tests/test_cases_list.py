"""Every test that tests/CASES.md names is there."""

import ast
import re
from pathlib import Path

import pytest

HERE = Path(__file__).parent
NAMED = re.findall(r"`tests/([\w/]+\.py)::(\w+)`", (HERE / "CASES.md").read_text())


def functions_of(file: str) -> set[str]:
    """Names of the test functions of a file under tests/, those in classes too."""
    tree = ast.parse((HERE / file).read_text())
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")}


@pytest.mark.parametrize("file", sorted({file for file, _ in NAMED}))
def test_what_the_list_names_exists(file: str) -> None:
    assert {name for path, name in NAMED if path == file} <= functions_of(file)


def test_every_row_of_the_list_names_a_test_or_says_why_not() -> None:
    text = (HERE / "CASES.md").read_text()
    rows = [line for line in text.splitlines() if line.startswith("| ") and not line.startswith(("| case", "| | case"))]
    assert len(rows) == 26 + 13 + 30
    for row in rows:
        assert "`tests/" in row or "not held" in row.lower() or "not apply" in row, row
    assert text.count("`tests/") - text.count("`tests/test_cases_list.py`") == len(NAMED)
