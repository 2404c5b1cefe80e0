"""The command line with spans of other sizes: python with_spans.py GATE_TILES SEGMENT_TILES run …"""

from __future__ import annotations

import sys


def main() -> None:
    """Everything after the two numbers is what tilegate gets."""
    import flows.pipeline as pipeline
    from flows.cli import main as tilegate

    gate_tiles, segment_tiles = int(sys.argv[1]), int(sys.argv[2])
    for name, tiles in (("GATE_TILES_PER_SPAN", gate_tiles), ("SEGMENT_TILES_PER_SPAN", segment_tiles)):
        if not hasattr(pipeline, name):
            raise SystemExit(f"flows.pipeline has no {name} any more: say here how spans are cut now")
        setattr(pipeline, name, tiles)
    sys.argv = ["tilegate", *sys.argv[3:]]
    tilegate()


if __name__ == "__main__":
    main()
