"""How much of the host's memory is left for this process: the machine's or its cgroup's, whichever
is less."""

from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")
NO_LIMIT = 2**63


def available() -> int:
    """Bytes that could be taken without swapping and without being killed."""
    lines = Path("/proc/meminfo").read_text().splitlines()
    kib = {line.split(":")[0]: line.split()[1] for line in lines}
    own = Path("/proc/self/cgroup").read_text().rpartition("::")[2].strip().lstrip("/")
    groups = [CGROUPS / own, *(CGROUPS / own).parents]
    limits = [left_in(group) for group in groups if CGROUPS in (group, *group.parents)]
    return max(0, min(int(kib["MemAvailable"]) * 1024, *limits))


def left_in(group: Path) -> int:
    """Bytes up to the limit of a cgroup (v2); what it holds of files counts as free."""
    try:
        limit = (group / "memory.max").read_text().strip()
        used = int((group / "memory.current").read_text())
        stat = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
    except OSError:  # the topmost has no limit, and machines with cgroup v1 have none of these
        return NO_LIMIT
    if limit == "max":
        return NO_LIMIT
    return int(limit) - used + int(stat["inactive_file"]) + int(stat["active_file"])
