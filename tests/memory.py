"""What the kernel counts of a process's memory."""

from __future__ import annotations

from pathlib import Path


def high_water(pid: int) -> int:
    """The most memory that a process held so far (VmHWM), in bytes; 0 if it is gone."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM")), 0)
