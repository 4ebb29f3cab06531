"""`make images PUSH=1` against a real registry: what was built is there, under the name it was
given."""

import json
import sys
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.images import built
from tests.images.buildah import buildah, run
from tests.images.registry_program import registry

ROOT = Path(__file__).parents[2]


def answer(url: str) -> Any:
    """The JSON that a registry gives."""
    request = urllib.request.Request(url, headers={"Accept": "application/vnd.oci.*, */*"})
    with urllib.request.urlopen(request) as response:
        return json.load(response)


@pytest.mark.slow
def test_what_is_pushed_is_in_the_registry(images: Mapping[str, str], tmp_path: Path) -> None:
    """25 s: compresses the verifier's image; its layers are built already."""
    with registry(tmp_path) as (address, conf):
        name = f"{address}/team/acereason-verifier"
        done = run(
            [sys.executable, "-m", "images.build", "verifier", "--engine=buildah", "--push",
             f"--registry={address}/team", "--tag=7", f"--base={built.debian()}"],
            cwd=ROOT,
            CONTAINERS_REGISTRIES_CONF=str(conf),
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        try:
            assert done.stdout.splitlines()[-1] == f"pushed: {name}:7"
            there = f"http://{address}/v2/team/acereason-verifier"
            manifest = answer(f"{there}/manifests/7")
            config = answer(f"{there}/blobs/{manifest['config']['digest']}")
            assert config["config"]["User"] == "65532:65532"
            assert config["config"]["Labels"]["org.opencontainers.image.title"] == (
                "acereason-verifier"
            )
            for layer in manifest["layers"]:
                with urllib.request.urlopen(f"{there}/blobs/{layer['digest']}") as blob:
                    assert len(blob.read()) == layer["size"]
        finally:
            buildah("rmi", f"{name}:7")
