"""Container images on their way into a containerd: from buildah's store, or made of a few files.

Only blobs that the target lacks are moved. Layers stay uncompressed, so their digests are the same
on every way, and nothing is spent on compressing what never leaves the machine.
"""

import io
import json
import os
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from tests.cluster.containerd import Containerd
from tests.images.buildah import ENVIRONMENT

_OCI = "application/vnd.oci.image"


class NoSuchImage(Exception):
    """buildah's store has no image of that name; the text says how images are built."""


@dataclass(frozen=True)
class Manifest:
    """An image by its manifest, whose blob is as important as any other."""

    name: str
    digest: str
    """Hexadecimal sha256 of the manifest."""
    size: int


def image_id(name: str) -> str:
    """What buildah knows an image by, which changes with its content."""
    command = ["buildah", "inspect", "--type", "image", "--format", "{{.FromImageID}}", name]
    asked = subprocess.run(
        command, env=os.environ | ENVIRONMENT, capture_output=True, text=True, check=False
    )
    if asked.returncode != 0:
        raise NoSuchImage(
            f"no image {name} in buildah's local store ({asked.stderr.strip()}); "
            "`make images` builds the project's"
        )
    return asked.stdout.strip()


def import_from_buildah(containerd: Containerd, names: Sequence[str]) -> None:
    """Bring images of buildah's local store into a containerd and unpack them there."""
    with _layout(containerd) as (folder, known):
        manifests = []
        for name in names:
            # buildah's own push compresses, which takes longer than all the rest.
            command = ["skopeo", "copy", "--quiet", "--dest-oci-accept-uncompressed-layers"]
            command += [f"containers-storage:{name}", f"oci:{folder}"]
            subprocess.run(
                command, env=os.environ | ENVIRONMENT, capture_output=True, text=True, check=True
            )
            index = folder / "index.json"
            found = json.loads(index.read_text(encoding="utf-8"))["manifests"][0]
            index.unlink()
            manifests.append(Manifest(name, found["digest"].partition(":")[2], found["size"]))
        _import(containerd, manifests, _files(folder, known))


def import_from_files(
    containerd: Containerd, name: str, files: Mapping[str, Path], links: Mapping[str, str]
) -> None:
    """Make an image of executables, and of symbolic links, and bring it into a containerd."""
    layer = io.BytesIO()
    with tarfile.open(fileobj=layer, mode="w") as tar:
        for target, source in files.items():
            member = tarfile.TarInfo(target)
            member.mode, member.size = 0o755, source.stat().st_size
            with source.open("rb") as content:
                tar.addfile(member, content)
        for target, goal in links.items():
            member = tarfile.TarInfo(target)
            member.type, member.linkname = tarfile.SYMTYPE, goal
            tar.addfile(member)
        for target in ("etc", "tmp"):  # what a runtime mounts files over, what programs need
            member = tarfile.TarInfo(target)
            member.type, member.mode = tarfile.DIRTYPE, 0o777
            tar.addfile(member)
    blobs: dict[str, bytes] = {}

    def descriptor(kind: str, content: bytes) -> dict[str, Any]:
        digest = sha256(content).hexdigest()
        blobs[digest] = content
        media_type = f"{_OCI}.{kind}"
        return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": len(content)}

    unpacked = descriptor("layer.v1.tar", layer.getvalue())
    config = {
        "architecture": {"x86_64": "amd64", "aarch64": "arm64"}[os.uname().machine],
        "os": "linux",
        "config": {"Entrypoint": [f"/{next(iter(files))}"], "Env": ["PATH=/bin"]},
        "rootfs": {"type": "layers", "diff_ids": [unpacked["digest"]]},
    }
    manifest = {
        "schemaVersion": 2,
        "mediaType": f"{_OCI}.manifest.v1+json",
        "config": descriptor("config.v1+json", json.dumps(config).encode()),
        "layers": [unpacked],
    }
    found = descriptor("manifest.v1+json", json.dumps(manifest).encode())
    made = Manifest(name, found["digest"].partition(":")[2], found["size"])
    _import(containerd, [made], {d: io.BytesIO(content) for d, content in blobs.items()})


@contextmanager
def _layout(containerd: Containerd) -> Iterator[tuple[Path, frozenset[str]]]:
    """An OCI layout beside a containerd's root with links to all its blobs, and their names.

    A copy into it writes the others only.
    """
    folder = Path(tempfile.mkdtemp(prefix="layout-", dir=containerd.folder))
    try:
        blobs = folder / "blobs" / "sha256"
        blobs.mkdir(parents=True)
        known = sorted(containerd.blobs.iterdir()) if containerd.blobs.exists() else []
        for blob in known:
            os.link(blob, blobs / blob.name)
        yield folder, frozenset(blob.name for blob in known)
    finally:
        shutil.rmtree(folder)


def _files(layout: Path, known: frozenset[str]) -> Mapping[str, Path]:
    blobs = (layout / "blobs" / "sha256").iterdir()
    return {blob.name: blob for blob in blobs if blob.name not in known}


def _import(
    containerd: Containerd, manifests: Sequence[Manifest], blobs: Mapping[str, Path | io.BytesIO]
) -> None:
    """Stream an archive of the blobs into `ctr images import`, which unpacks the images too."""
    index = {
        "schemaVersion": 2,
        "manifests": [
            {
                "mediaType": f"{_OCI}.manifest.v1+json",
                "digest": f"sha256:{manifest.digest}",
                "size": manifest.size,
                "annotations": {"io.containerd.image.name": manifest.name},
            }
            for manifest in manifests
        ],
    }
    command = containerd.ctr_command("images", "import", "-")
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=said, stderr=said)
        assert process.stdin
        try:
            with process.stdin, tarfile.open(fileobj=process.stdin, mode="w|") as tar:
                _add(tar, "oci-layout", io.BytesIO(b'{"imageLayoutVersion": "1.0.0"}'))
                _add(tar, "index.json", io.BytesIO(json.dumps(index).encode()))
                for digest, content in blobs.items():
                    _add(tar, f"blobs/sha256/{digest}", content)
        except BrokenPipeError:
            pass  # it has said why
        if process.wait() != 0:
            said.seek(0)
            text = said.read().decode(errors="replace")[-2000:]
            names = ", ".join(manifest.name for manifest in manifests)
            raise RuntimeError(f"{containerd.process.name} does not take {names}: {text}")


def _add(tar: tarfile.TarFile, name: str, content: Path | io.BytesIO) -> None:
    member = tarfile.TarInfo(name)
    if isinstance(content, Path):
        member.size = content.stat().st_size
        with content.open("rb") as file:
            tar.addfile(member, file)
    else:
        member.size = len(content.getvalue())
        tar.addfile(member, content)
