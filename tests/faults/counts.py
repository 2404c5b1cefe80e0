"""What the tests of faults counted, for the end of the session."""

COUNTS: list[str] = []
