"""How often the kernel killed for memory in this container (cgroup v2)."""

from pathlib import Path

_CGROUPS = Path("/sys/fs/cgroup")


def memory_kills(own_cgroup: Path = Path("/proc/self/cgroup")) -> int:
    """`oom_kill` of this process's cgroup; 0 where the system does not say."""
    try:
        path = own_cgroup.read_text().rpartition("::")[2].strip().lstrip("/")
        events = (_CGROUPS / path / "memory.events").read_text()
    except OSError:
        return 0
    counts = dict(line.split() for line in events.splitlines())
    return int(counts.get("oom_kill", 0))
