"""Container images on their way into a containerd: from buildah's store, or made of a few files.

Layers stay uncompressed, so their digests are the same on every way, and nothing is spent on
compressing what never leaves the machine. Blobs that the containerd lacks are linked into its
store, never sent through it: an image of gigabytes costs one pass for writing its layers and one
for unpacking them.
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
from hashlib import sha256
from pathlib import Path
from typing import Any

from tests.cluster.containerd import Containerd
from tests.images.buildah import ENVIRONMENT, run

_OCI = "application/vnd.oci.image"


class NoSuchImage(Exception):
    """buildah's store has no image of that name; the text says how images are built."""


def image_id(name: str) -> str:
    """What buildah knows an image by, which changes with its content."""
    command = ["buildah", "inspect", "--type", "image", "--format", "{{.FromImageID}}", name]
    asked = run(command)
    if asked.returncode != 0:
        raise NoSuchImage(
            f"no image {name} in buildah's local store ({asked.stderr.strip()}); "
            "`make images` builds the project's"
        )
    return asked.stdout.strip()


def import_from_buildah(containerd: Containerd, names: Sequence[str]) -> None:
    """Bring images of buildah's local store into a containerd and unpack them there."""
    with _layout(containerd) as layout:
        manifests = []
        for name in names:
            # buildah's own push compresses, which takes longer than all the rest.
            command = ["skopeo", "copy", "--quiet", "--dest-oci-accept-uncompressed-layers"]
            command += [f"containers-storage:{name}", f"oci:{layout}"]
            subprocess.run(
                command, env=os.environ | ENVIRONMENT, capture_output=True, text=True, check=True
            )
            index = layout / "index.json"
            manifests += json.loads(index.read_text(encoding="utf-8"))["manifests"]
            index.unlink()
        _take(containerd, layout, dict(zip(names, manifests, strict=True)))


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
    with _layout(containerd) as layout:

        def blob(kind: str, content: bytes) -> dict[str, Any]:
            digest = sha256(content).hexdigest()
            (_blobs(layout) / digest).write_bytes(content)
            media_type = f"{_OCI}.{kind}"
            return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": len(content)}

        unpacked = blob("layer.v1.tar", layer.getvalue())
        config = {
            "architecture": {"x86_64": "amd64", "aarch64": "arm64"}[os.uname().machine],
            "os": "linux",
            "config": {"Entrypoint": [f"/{next(iter(files))}"], "Env": ["PATH=/bin"]},
            "rootfs": {"type": "layers", "diff_ids": [unpacked["digest"]]},
        }
        manifest = {
            "schemaVersion": 2,
            "mediaType": f"{_OCI}.manifest.v1+json",
            "config": blob("config.v1+json", json.dumps(config).encode()),
            "layers": [unpacked],
        }
        _take(containerd, layout, {name: blob("manifest.v1+json", json.dumps(manifest).encode())})


@contextmanager
def _layout(containerd: Containerd) -> Iterator[Path]:
    """An OCI layout beside a containerd's root, with links to all its blobs: a copy into it writes
    the others only."""
    layout = Path(tempfile.mkdtemp(prefix="layout-", dir=containerd.folder))
    try:
        _blobs(layout).mkdir(parents=True)
        containerd.blobs.mkdir(parents=True, exist_ok=True)
        for blob in containerd.blobs.iterdir():
            os.link(blob, _blobs(layout) / blob.name)
        yield layout
    finally:
        shutil.rmtree(layout)


def _blobs(layout: Path) -> Path:
    return layout / "blobs" / "sha256"


def _take(containerd: Containerd, layout: Path, images: Mapping[str, Mapping[str, Any]]) -> None:
    """Bring a layout's blobs and images, given by name with their manifests' descriptors, into a
    containerd, and unpack the images."""
    for blob in _blobs(layout).iterdir():
        stored = containerd.blobs / blob.name
        if not stored.exists():
            os.link(blob, stored)
        # What lies in the store is only taken note of, and nothing read. A crash may have come
        # between the two, so it is done for all.
        with blob.open("rb") as content:
            expected = [f"--expected-digest=sha256:{blob.name}"]
            expected.append(f"--expected-size={blob.stat().st_size}")
            subprocess.run(
                containerd.ctr_command("content", "ingest", *expected, f"import-{blob.name}"),
                stdin=content, capture_output=True, text=True, check=True,
            )  # fmt: skip
    index = {
        "schemaVersion": 2,
        "manifests": [
            {**manifest, "annotations": {"io.containerd.image.name": name}}
            for name, manifest in images.items()
        ],
    }
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        for name, text in (
            ("oci-layout", '{"imageLayoutVersion": "1.0.0"}'),
            ("index.json", json.dumps(index)),
        ):
            member = tarfile.TarInfo(name)
            member.size = len(text)
            tar.addfile(member, io.BytesIO(text.encode()))
    done = subprocess.run(
        containerd.ctr_command("images", "import", "-"),
        input=archive.getvalue(), capture_output=True, check=False,
    )  # fmt: skip
    if done.returncode != 0:
        said = (done.stdout + done.stderr).decode(errors="replace")[-2000:]
        raise RuntimeError(f"{containerd.process.name} does not take {', '.join(images)}: {said}")
