"""OpenVINO as all files import it: ready for threads, and without reports to Google Analytics.

The first report is its import. They are sent by the package openvino_telemetry, which OpenVINO and NNCF do without when
it can not be imported. Their own switches come too late (NNCF) or are a file in the home folder (OpenVINO).
"""

from __future__ import annotations

import sys

sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]  # to import it fails from here on
sys.modules["openvino.tools.ovc"] = None  # type: ignore[assignment]  # it converts models: half of the import's time

import openvino as ov  # noqa: E402 (after the lines above)

del sys.modules["openvino.tools.ovc"]  # whoever asks for it by name gets it

ov.Type.f32.to_dtype()  # fills a table, over which two threads that first infer at the same time wait for each other

__all__ = ["ov"]
