"""The programs of a cluster beside its control plane's, built once and kept with them.

Two modules: CoreDNS needs other versions of libraries, which would make most of Kubernetes be
compiled a second time.
"""

from collections.abc import Mapping
from pathlib import Path

from tests.controlplane.programs import CONTROL_PLANE, GoModule, programs

NODE = GoModule(
    folder=Path(__file__).parent / "node",
    packages={
        "kube-scheduler": "k8s.io/kubernetes/cmd/kube-scheduler",
        "kubelet": "k8s.io/kubernetes/cmd/kubelet",
        "kube-proxy": "k8s.io/kubernetes/cmd/kube-proxy",
        "pause": "./pause",
    },
    versioned_by="k8s.io/kubernetes",
    variables=CONTROL_PLANE.variables,
)
COREDNS = GoModule(
    folder=Path(__file__).parent / "coredns",
    packages={"coredns": "."},
    versioned_by="github.com/coredns/coredns",
    variables=[],
)


def cluster_programs() -> Mapping[str, Path]:
    """Path of each program; builds what is missing (on 2 cores: 2 minutes beside the control
    plane's 5)."""
    return {**programs(CONTROL_PLANE), **programs(NODE), **programs(COREDNS)}
