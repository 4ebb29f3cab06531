"""The programs of a control plane: from KUBEBUILDER_ASSETS where they are, else built once.

KUBEBUILDER_ASSETS is the ecosystem's name for a folder with etcd, kube-apiserver and kubectl. It
seldom holds kube-controller-manager, without which no Job gets a pod: what is missing there is
built from the versions in go.mod. Built programs live in a cache outside the checkout, in a folder
named by the digest of what they are built from, so that a second run finds them.
"""

import os
import re
import subprocess
import sys
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path

from tests.controlplane.cache import cache, locked
from tests.controlplane.go_toolchain import go_program

HERE = Path(__file__).parent

PACKAGES = {
    "etcd": "go.etcd.io/etcd/server/v3",
    "kube-apiserver": "k8s.io/kubernetes/cmd/kube-apiserver",
    "kube-controller-manager": "k8s.io/kubernetes/cmd/kube-controller-manager",
    "kubectl": "k8s.io/kubernetes/cmd/kubectl",
}
"""Go package of each program."""


def programs() -> Mapping[str, Path]:
    """Path of each program; builds what is missing (about 5 minutes on 2 cores, once)."""
    built = cache() / _digest()
    assets = os.environ.get("KUBEBUILDER_ASSETS")
    found = {name: built / name for name in PACKAGES}
    if assets:
        found |= {n: Path(assets) / n for n in PACKAGES if (Path(assets) / n).is_file()}
    with locked(cache() / "build.lock"):
        missing = [name for name, path in found.items() if not path.is_file()]
        if missing:
            _build(missing, built)
    return found


def _digest() -> str:
    sources = b"".join((HERE / name).read_bytes() for name in ("go.mod", "go.sum", "tools.go"))
    return sha256(sources).hexdigest()[:16]


def _build(names: list[str], folder: Path) -> None:
    print(f"building {', '.join(names)} into {folder}: minutes, once", file=sys.stderr)
    unfinished = folder / "unfinished"
    unfinished.mkdir(parents=True, exist_ok=True)
    go = go_program(cache())
    for name in names:
        subprocess.run(
            [go, "build", "-trimpath", "-buildvcs=false", f"-ldflags=-s -w {_version_flags()}",
             "-o", unfinished / name, PACKAGES[name]],
            cwd=HERE,
            env=os.environ | {"CGO_ENABLED": "0", "GOTOOLCHAIN": "local"},
            check=True,
        )  # fmt: skip
        (unfinished / name).rename(folder / name)


def _version_flags() -> str:
    """Linker flags for the version that programs tell: without them it is v0.0.0-master."""
    match = re.search(r"k8s\.io/kubernetes (v(\d+)\.(\d+)\.\d+)$", _go_mod(), re.MULTILINE)
    assert match, "go.mod names the version of Kubernetes"
    version, major, minor = match.groups()
    return " ".join(
        f"-X {package}.gitVersion={version} -X {package}.gitMajor={major} "
        f"-X {package}.gitMinor={minor}"
        for package in ("k8s.io/component-base/version", "k8s.io/client-go/pkg/version")
    )


def _go_mod() -> str:
    return (HERE / "go.mod").read_text(encoding="utf-8")
