"""What runs a network: one file an engine, imported only when it is asked for."""

from __future__ import annotations

import sys

# OpenVINO tells Google Analytics of its import, and NNCF of each call, unless this package cannot
# be imported: both have a stub for that. Nothing may be sent, so this comes before either.
sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]
