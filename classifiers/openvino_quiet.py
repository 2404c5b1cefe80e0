"""OpenVINO as all files import it: ready for threads, and without reports to Google Analytics.

The first report is its import. They are sent by the package openvino_telemetry, which OpenVINO and NNCF do without when
it can not be imported. Their own switches come too late (NNCF) or are a file in the home folder (OpenVINO).
"""

from __future__ import annotations

import sys

sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]  # to import it fails from here on

import openvino as ov  # noqa: E402 (after the line above, or it has been sent)

ov.Type.f32.to_dtype()  # fills a table, over which two threads that first infer at the same time wait for each other

__all__ = ["ov"]
