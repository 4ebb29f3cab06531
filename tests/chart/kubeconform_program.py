"""Kubeconform, built once from the version in kubeconform/go.mod and kept beside helm."""

from pathlib import Path

from tests.controlplane.programs import GoModule, programs

KUBECONFORM = GoModule(
    folder=Path(__file__).parent / "kubeconform",
    packages={"kubeconform": "github.com/yannh/kubeconform/cmd/kubeconform"},
    versioned_by="github.com/yannh/kubeconform",
    variables=["main.version={version}"],
)


def kubeconform_program() -> Path:
    """Path of kubeconform; built where it is missing."""
    return programs(KUBECONFORM)["kubeconform"]
