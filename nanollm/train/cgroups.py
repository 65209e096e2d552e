"""Limits of the control groups (container, service) that this process belongs to, on Linux."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

PROC, CGROUPS = Path("/proc"), Path("/sys/fs/cgroup")


def control_groups(controller: str, proc: Path = PROC, cgroups: Path = CGROUPS) -> Iterator[Path]:
    """Yield the folders of this process's groups with a controller ("memory", "cpu"), from the innermost outwards.

    Yields nothing on systems without control groups.
    """
    try:
        lines = (proc / "self" / "cgroup").read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers and controller not in controllers.split(","):
            continue
        root = cgroups / controllers if controllers else cgroups  # cgroup v2 has a single tree
        # Inside a container, the path may be that of the host, with only its root mounted here.
        inner = root / path.strip("/")
        for group in (inner, *inner.parents):
            if group == root or root in group.parents:
                yield group


def cpu_quota(proc: Path = PROC, cgroups: Path = CGROUPS) -> float | None:
    """Return how many CPUs' worth of time the control groups allow; None if they set no limit."""
    quotas = [_cpu_quota(group) for group in control_groups("cpu", proc, cgroups)]
    return min((quota for quota in quotas if quota is not None), default=None)


def free_memory(proc: Path = PROC, cgroups: Path = CGROUPS) -> int | None:
    """Return the bytes left in the tightest control group; None if no group limits memory."""
    left = [_free_memory(group) for group in control_groups("memory", proc, cgroups)]
    return min((size for size in left if size is not None), default=None)


def _cpu_quota(group: Path) -> float | None:
    try:
        quota, period = (group / "cpu.max").read_text().split()  # cgroup v2; the quota may be "max"
    except (OSError, ValueError):
        try:
            quota, period = ((group / f"cpu.cfs_{name}_us").read_text() for name in ("quota", "period"))
        except OSError:
            return None
    try:
        return int(quota) / int(period) if int(quota) > 0 else None  # cgroup v1 writes -1 for no limit
    except (ValueError, ZeroDivisionError):
        return None


def _free_memory(group: Path) -> int | None:
    """Free bytes of one group, or None without a limit. Inactive page cache counts as free."""
    for limit, usage, cached in (
        ("memory.max", "memory.current", "inactive_file"),
        ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    ):
        try:
            most, used = (group / limit).read_text().strip(), int((group / usage).read_text())
            counts = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
            if most != "max":
                return int(most) - used + int(counts.get(cached, 0))
        except (OSError, ValueError):
            continue
    return None
