"""Programs that tests need: from KUBEBUILDER_ASSETS where they are, else built once.

KUBEBUILDER_ASSETS is the ecosystem's name for a folder with etcd, kube-apiserver and kubectl. It
seldom holds kube-controller-manager, without which no Job gets a pod: what is missing there is
built from the versions in go.mod. Built programs live in a cache outside the checkout, in a folder
named by the digest of what they are built from, so that a second run finds them.
"""

import os
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from tests.controlplane.cache import cache, locked
from tests.controlplane.go_toolchain import go_program
from tests.left_out import left_out_where_a_command_fails, tried_once


@dataclass(frozen=True, eq=False)
class GoModule:
    """A folder with go.mod, go.sum and Go files: all that some programs are built from."""

    folder: Path
    packages: Mapping[str, str]
    """Go package of each program."""
    versioned_by: str
    """The required module whose version programs are told."""
    variables: Sequence[str]
    """What the linker sets, with {version}, {major} and {minor} of that module."""

    def read(self, name: str) -> str:
        """Text of one of its files."""
        return (self.folder / name).read_text(encoding="utf-8")


CONTROL_PLANE = GoModule(
    folder=Path(__file__).parent,
    packages={
        "etcd": "go.etcd.io/etcd/server/v3",
        "kube-apiserver": "k8s.io/kubernetes/cmd/kube-apiserver",
        "kube-controller-manager": "k8s.io/kubernetes/cmd/kube-controller-manager",
        "kubectl": "k8s.io/kubernetes/cmd/kubectl",
    },
    versioned_by="k8s.io/kubernetes",
    # Without them it is v0.0.0-master.
    variables=[
        f"{package}.{variable}"
        for package in ("k8s.io/component-base/version", "k8s.io/client-go/pkg/version")
        for variable in ("gitVersion={version}", "gitMajor={major}", "gitMinor={minor}")
    ],
)


def programs(module: GoModule = CONTROL_PLANE) -> Mapping[str, Path]:
    """Path of each program; builds what is missing (once, on 2 cores: the control plane about 5
    minutes, helm 90 s).

    Raises LeftOut, with the end of the output, where Go cannot be had or does not build it.
    """
    built = cache() / _digest(module)
    assets = os.environ.get("KUBEBUILDER_ASSETS")
    found = {name: built / name for name in module.packages}
    if assets:
        found |= {n: Path(assets) / n for n in module.packages if (Path(assets) / n).is_file()}
    if not all(path.is_file() for path in found.values()):
        with locked(built / "build.lock"):
            missing = tuple(name for name, path in found.items() if not path.is_file())
            if missing:  # nobody else has built it meanwhile
                _build(module, missing, built)
    return found


def _digest(module: GoModule) -> str:
    code = sorted(str(file.relative_to(module.folder)) for file in module.folder.rglob("*.go"))
    sources = "".join(module.read(name) for name in ("go.mod", "go.sum", *code))
    return sha256(sources.encode()).hexdigest()[:16]


@tried_once
def _build(module: GoModule, names: tuple[str, ...], folder: Path) -> None:
    print(f"building {', '.join(names)} into {folder}: minutes, once", file=sys.stderr)
    unfinished = folder / "unfinished"
    unfinished.mkdir(parents=True, exist_ok=True)
    with left_out_where_a_command_fails(f"tests that need {', '.join(names)} are left out"):
        go = go_program(cache())
        for name in names:
            subprocess.run(
                [go, "build", "-trimpath", "-buildvcs=false", f"-ldflags=-s -w {_told(module)}",
                 "-o", unfinished / name, module.packages[name]],
                cwd=module.folder,
                env=os.environ | {"CGO_ENABLED": "0", "GOTOOLCHAIN": "local"},
                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=True,
            )  # fmt: skip
            (unfinished / name).rename(folder / name)


def _told(module: GoModule) -> str:
    """Linker flags for the version that programs tell."""
    line = rf"{re.escape(module.versioned_by)} (v(\d+)\.(\d+)\.\d+)( // indirect)?$"
    match = re.search(line, module.read("go.mod"), re.MULTILINE)
    assert match, f"go.mod names the version of {module.versioned_by}"
    version, major, minor, _ = match.groups()
    return " ".join(
        f"-X {variable.format(version=version, major=major, minor=minor)}"
        for variable in module.variables
    )
