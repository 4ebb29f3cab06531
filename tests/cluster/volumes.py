"""Volumes of the cluster: folders of this machine, which is every node, so all pods can share them.

A claim without a storage class gets one of a pool, made beforehand; a small volume, which can be
filled, is a file system in a file and has a storage class of its own.
"""

import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

POOL = 40
"""Claims that a cluster can serve in its life: a volume is used once."""
POOL_CLASS = "shared"


@dataclass(frozen=True)
class Volumes:
    """The folder that all of them lie in."""

    folder: Path

    def pool(self) -> list[dict[str, Any]]:
        """Make the pool's folders; the objects that tell Kubernetes of them."""
        volumes = [self._volume(f"shared-{n:02}", POOL_CLASS, "10Ti") for n in range(1, POOL + 1)]
        return [_storage_class(POOL_CLASS, default="true"), *volumes]

    def small(self, name: str, mebibytes: int) -> list[dict[str, Any]]:
        """Make and mount a file system of that size; storage class and volume are called `name`."""
        image = self.folder / f"{name}.ext4"
        image.parent.mkdir(parents=True, exist_ok=True)
        with image.open("wb") as file:
            file.truncate(mebibytes * 2**20)
        subprocess.run(
            ["mkfs.ext4", "-q", "-m", "0", "-O", "^has_journal", image],
            check=True, capture_output=True, text=True,
        )  # fmt: skip
        folder = self.folder / name
        folder.mkdir()
        subprocess.run(
            ["mount", "-o", "loop", image, folder], check=True, capture_output=True, text=True
        )
        return [
            _storage_class(name, default="false"),
            self._volume(name, name, f"{mebibytes}Mi"),
        ]

    def _volume(self, name: str, storage_class: str, size: str) -> dict[str, Any]:
        folder = self.folder / name
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o777)  # pods are no root, and a host's folder knows no fsGroup
        return {
            "apiVersion": "v1",
            "kind": "PersistentVolume",
            "metadata": {"name": name},
            "spec": {
                "capacity": {"storage": size},
                "accessModes": ["ReadWriteMany", "ReadWriteOnce"],
                "storageClassName": storage_class,
                "persistentVolumeReclaimPolicy": "Retain",
                "hostPath": {"path": str(folder), "type": "Directory"},
            },
        }


def _storage_class(name: str, default: str) -> dict[str, Any]:
    return {
        "apiVersion": "storage.k8s.io/v1",
        "kind": "StorageClass",
        "metadata": {
            "name": name,
            "annotations": {"storageclass.kubernetes.io/is-default-class": default},
        },
        "provisioner": "kubernetes.io/no-provisioner",
        "volumeBindingMode": "Immediate",
    }
