"""What the operator was installed with, as far as it shows in what is rendered."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Security = Literal["restricted", "image"]


def _prepare_resources() -> dict[str, dict[str, str]]:
    return {"requests": {"cpu": "500m", "memory": "512Mi"}, "limits": {"memory": "2Gi"}}


@dataclass(frozen=True)
class Rendering:
    """Options of an installation, the same for all runs."""

    trainer_image: str
    """Image of stages whose run names none."""
    prepare_image: str
    """Image of the prepare phase: the operator's own, which is small and has no torch."""
    image_pull_policy: Literal["Always", "IfNotPresent", "Never"] = "IfNotPresent"
    """Of both images, unless a run's podTemplate says otherwise."""
    store: str = "/store"
    """Where the run's claim is mounted, as prepare, launcher and status see it."""
    security: Security = "restricted"
    """`restricted`: pods meet the Pod Security Standard of that name, with a root that is read-only
    but for /tmp. `image`: nothing is said, the image and the cluster decide."""
    user: int | None = 65532
    """With `restricted`: user and group of all containers, and group of mounted volumes, so that
    what one image writes to the store the other can read and remove. 65532 is the `nonroot` of
    minimal images. None: the cluster assigns one per namespace (OpenShift)."""
    gpu_resource: str = "nvidia.com/gpu"
    """Extended resource that `gpusPerNode` asks for."""
    metrics_port: int = 9400
    """Port at which rank 0 serves `/metrics`, unless a stage names another."""
    verifier_url: str = ""
    """Verifier service that `service: auto` means in stage pods; empty: there is none, and answers
    are checked beside the trainer."""
    prepare_resources: Mapping[str, Mapping[str, str]] = field(default_factory=_prepare_resources)
    """Resources of the prepare phase: it hashes files as a stream and holds none of them."""
