"""A containerd root that outlives clusters: each image is unpacked into it once.

A node gets copies of its two databases, hard links of its blobs, and symbolic links to its unpacked
layers, which no container ever changes: so a start does not depend on how large the images are.
"""

import json
import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.cluster.containerd import PAUSE, Containerd
from tests.cluster.images import image_id, import_from_buildah, import_from_files

BUSYBOX = "localhost/acereason-busybox:1"
"""Image with a shell and the usual small programs, statically linked."""


@dataclass(frozen=True)
class ImageSeed:
    """The seed, in a folder of its own."""

    folder: Path

    @property
    def containerd(self) -> Containerd:
        """Runs only while images are brought in."""
        return Containerd(self.folder, "seed", subnet="")

    def hold(self, images: Sequence[str], pause: Path, busybox: Path) -> Sequence[str]:
        """Make sure of images, and of two of our own made of the programs given; returns those of
        `images` that were not there.

        images: names in buildah's local store. Those of the same repositories under other tags are
        removed, so that tags that change do not fill the disk.
        """
        own = {PAUSE: pause, BUSYBOX: busybox}
        wanted = {name: image_id(name) for name in images}
        wanted |= {name: f"{file.stat().st_size} {file}" for name, file in own.items()}
        held = self._held()
        stale = [n for n in held if n not in wanted and _repository(n) in map(_repository, wanted)]
        missing = [name for name, what in wanted.items() if held.get(name) != what]
        built = [name for name in missing if name in images]
        if not missing and not stale:
            return built
        self.containerd.start()
        try:
            self.containerd.wait_until_ready()
            if PAUSE in missing:
                import_from_files(self.containerd, PAUSE, {"pause": pause}, {})
            if BUSYBOX in missing:
                listed = subprocess.run([busybox, "--list"], stdout=subprocess.PIPE, check=True)
                links = {f"bin/{name}": "busybox" for name in listed.stdout.decode().split()}
                del links["bin/busybox"]
                import_from_files(self.containerd, BUSYBOX, {"bin/busybox": busybox}, links)
            if built:
                import_from_buildah(self.containerd, built)
            for name in stale:
                self.containerd.ctr("images", "remove", name)
            # Ending a lease collects what no image needs any more, before it returns.
            self.containerd.ctr("leases", "create", "--id", "sweep")
            self.containerd.ctr("leases", "delete", "--sync", "sweep")
        finally:
            self.containerd.process.kill()
        kept = {name: what for name, what in held.items() if name not in stale} | wanted
        self._record.write_text(json.dumps(kept, indent=2), encoding="utf-8")
        return built

    def give(self, containerd: Containerd) -> None:
        """Fill the root of a containerd that has not been started yet."""
        seed = self.containerd
        for database in (
            "io.containerd.metadata.v1.bolt/meta.db",
            "io.containerd.snapshotter.v1.overlayfs/metadata.db",
        ):
            (containerd.root / database).parent.mkdir(parents=True)
            shutil.copyfile(seed.root / database, containerd.root / database)
        containerd.blobs.mkdir(parents=True)
        for blob in seed.blobs.iterdir():
            os.link(blob, containerd.blobs / blob.name)
        for snapshot in seed.snapshots.iterdir():
            own = containerd.snapshots / snapshot.name
            (own / "work").mkdir(parents=True)
            (own / "fs").symlink_to(snapshot / "fs")

    @property
    def _record(self) -> Path:
        return self.folder / "images.json"

    def _held(self) -> Mapping[str, str]:
        if not self._record.exists():
            return {}
        held: Mapping[str, str] = json.loads(self._record.read_text(encoding="utf-8"))
        return held


def _repository(image: str) -> str:
    return image.rpartition(":")[0]
