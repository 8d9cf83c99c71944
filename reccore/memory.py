"""Memory of this process."""

from __future__ import annotations

import re
import sys
from pathlib import Path


def peak_memory_bytes() -> int:
    """Peak resident memory of this process, libraries included, without the peak inherited from its parent."""
    status = Path("/proc/self/status")
    if not status.exists():  # not Linux
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    found = re.search(r"VmHWM:\s+(\d+) kB", status.read_text())
    if found is None:
        raise RuntimeError(f"{status} has no VmHWM")
    return int(found[1]) * 1024
