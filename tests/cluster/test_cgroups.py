"""Cgroups of version 2, of which every kernel has a tree, for controllers that version 1 leaves."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CONTAINER = "acereason-container"
AS_IN_A_CONTAINER = f"""
set -e
cd $1
mkdir all own
mount -t cgroup2 none all
for controller in $(cat all/cgroup.controllers); do
    echo +$controller > all/cgroup.subtree_control || true
done
mkdir all/{CONTAINER}
trap "find all/{CONTAINER} -depth -type d -delete" EXIT
(
    echo $BASHPID > all/{CONTAINER}/cgroup.procs
    exec unshare --cgroup --mount bash -c '
        umount --lazy all
        for mount in $(grep -E "^[^ ]+ [^ ]+ cgroup2? " /proc/mounts | cut -d " " -f 2); do
            umount --lazy $mount
        done
        mount -t cgroup2 none own
        exec "$@"' bash "${{@:2}}"
)
"""
"""Runs $2... in a cgroup of its own, which is the root of the only tree that it sees; in $1."""
MAKES_ONE = """
import os
import subprocess
from pathlib import Path
from tests.cluster import cgroups

own, name = Path(os.environ["OWN"]), "acereason-try"
mounts = [line.split() for line in Path("/proc/self/mounts").read_text().splitlines()]
assert [m[1] for m in mounts if m[2] in ("cgroup", "cgroup2")] == [str(own)]
assert (own / "cgroup.type").exists(), "a container's root is not the machine's"
assert (own / "cgroup.procs").read_text(), "and holds processes: this one"
for _ in range(2):
    cgroups.make(name)
    given = (own / name / "cgroup.controllers").read_text()
    assert given == (own / "cgroup.controllers").read_text()
with subprocess.Popen(["sleep", "3600"]) as inside:
    (own / name / "cgroup.procs").write_text(str(inside.pid))
    cgroups.kill(name)
assert inside.returncode == -9
cgroups.remove(name)
assert not (own / name).exists()
"""


@pytest.mark.usefixtures("cluster_machine")
def test_in_a_container_a_node_gets_every_controller_that_the_container_has(tmp_path: Path) -> None:
    words = ("unshare", "--mount", "--propagation", "private", "bash", "-c", AS_IN_A_CONTAINER)
    program = ("env", f"OWN={tmp_path}/own", f"PYTHONPATH={ROOT}", sys.executable, "-c", MAKES_ONE)
    done = subprocess.run(
        [*words, "bash", tmp_path, *program], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
