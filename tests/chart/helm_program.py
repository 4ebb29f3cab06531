"""Helm, built once from the version in helm/go.mod and kept beside the control plane's programs.

A module of its own: Helm needs other versions of Kubernetes' libraries than the API server does.
"""

from pathlib import Path

from tests.controlplane.programs import GoModule, programs

HELM = GoModule(
    folder=Path(__file__).parent / "helm",
    packages={"helm": "helm.sh/helm/v3/cmd/helm"},
    versioned_by="k8s.io/client-go",
    # The cluster that `helm template` imagines: client-go v0.37 is Kubernetes 1.37. Without them it
    # is 1.20, which the chart refuses.
    variables=[
        f"helm.sh/helm/v3/pkg/{package}.{variable}"
        for package in ("chartutil", "lint/rules")
        for variable in ("k8sVersionMajor=1", "k8sVersionMinor={minor}")
    ],
)


def helm_program() -> Path:
    """Path of helm; built where it is missing."""
    return programs(HELM)["helm"]
