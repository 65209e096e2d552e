"""CPU quotas of containers limit the number of threads."""

from __future__ import annotations

from pathlib import Path

import pytest

from nanollm.train.cgroups import cpu_quota

V1 = "cpu,cpuacct"  # folder of the CPU controller in cgroup v1


def container(tmp_path: Path, line: str, files: dict[str, str]) -> tuple[Path, Path]:
    """A process in the control group of `line`, with the given files below the mounted control groups."""
    proc, cgroups = tmp_path / "proc", tmp_path / "cgroup"
    (proc / "self").mkdir(parents=True)
    (proc / "self" / "cgroup").write_text(line + "\n")
    for name, content in files.items():
        (cgroups / name).parent.mkdir(parents=True, exist_ok=True)
        (cgroups / name).write_text(content + "\n")
    return proc, cgroups


@pytest.mark.parametrize(
    ("line", "files", "quota"),
    [
        ("0::/", {"cpu.max": "150000 100000"}, 1.5),
        ("0::/", {"cpu.max": "max 100000"}, None),
        ("0::/a/b", {"a/b/cpu.max": "max 100000", "a/cpu.max": "50000 100000"}, 0.5),  # the outer group is tighter
        ("0::/a/b", {"a/b/cpu.max": "100000 100000", "a/cpu.max": "400000 100000"}, 1.0),
        (
            "4:cpu,cpuacct:/x",
            {"cpu,cpuacct/cpu.cfs_quota_us": "200000", "cpu,cpuacct/cpu.cfs_period_us": "100000"},
            2.0,
        ),
        ("4:cpu,cpuacct:/x", {"cpu,cpuacct/cpu.cfs_quota_us": "-1", "cpu,cpuacct/cpu.cfs_period_us": "100000"}, None),
        ("3:memory:/x", {"memory/cpu.max": "100000 100000"}, None),  # another controller
        ("0::/", {"cpu.max": "damaged"}, None),
        ("0::/", {"cpu.max": "100000 0"}, None),
    ],
)
def test_the_tightest_quota_of_all_groups_counts(
    tmp_path: Path, line: str, files: dict[str, str], quota: float | None
) -> None:
    assert cpu_quota(*container(tmp_path, line, files)) == quota


def test_there_is_no_quota_without_control_groups(tmp_path: Path) -> None:
    assert cpu_quota(tmp_path, tmp_path) is None
