"""The command line with a slow model: STAGE SECONDS, then the arguments of tilegate. Every call of the model sleeps."""

import os
import sys
import time

import flows.job
from flows.cli import entry, main


class Slow:
    """A model that takes its time and says the same."""

    def __init__(self, model, seconds):
        self._model, self._seconds = model, seconds
        self.model, self.bands, self.classes = model.model, model.bands, model.classes

    def score(self, stack):
        time.sleep(self._seconds)
        return self._model.score(stack)

    def segment(self, stack):
        time.sleep(self._seconds)
        return self._model.segment(stack)


def slow_down(stage, seconds):
    name = {"gate": "open_gate", "segment": "open_segmenter"}[stage]
    fast = getattr(flows.job, name)
    setattr(flows.job, name, lambda *spec: Slow(fast(*spec), seconds))


if __name__ == "__main__":
    slow_down(sys.argv[1], float(sys.argv[2]))
    del sys.argv[1:3]
    (entry if os.environ.get("SUPERVISED") else main)()
