import json
from pathlib import Path

import pytest
from acereason_trainer.artifacts.errors import Corrupt, NotFound
from acereason_trainer.artifacts.manifest import MANIFEST, Manifest, read_manifest
from acereason_trainer.artifacts.store import DirectoryStore
from acereason_trainer.config.sources import ArtifactRef
from artifact_builders import a_key, published, ref_to


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def cut(path: Path, size: int) -> None:
    path.write_bytes(path.read_bytes()[:size])


def edit(path: Path, **changes: object) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


DAMAGE = {
    "a flipped byte": (lambda d: flip(d / "weights/a.bin"), "weights/a.bin does not hash"),
    "a flipped byte of a record": (lambda d: flip(d / "config.json"), "config.json does not hash"),
    "a cut file": (lambda d: cut(d / "weights/a.bin", 17), "weights/a.bin has 17 bytes"),
    "a missing file": (lambda d: (d / "weights/b.bin").unlink(), "weights/b.bin is missing"),
    "an extra file": (lambda d: (d / "x").write_text("x"), "x is not in its manifest"),
    "a link": (lambda d: (d / "x").symlink_to("config.json"), "x is not a plain file"),
    "no manifest": (lambda d: (d / MANIFEST).unlink(), "no manifest.json"),
    "an empty manifest": (lambda d: cut(d / MANIFEST, 0), "cut or edited"),
    "a cut manifest": (lambda d: cut(d / MANIFEST, 200), "cut or edited"),
    "an edited manifest": (lambda d: edit(d / MANIFEST, step=99), "checksum does not fit"),
    "a manifest with a new field": (lambda d: edit(d / MANIFEST, x=1), "cut or edited (x"),
    "a manifest that points outside": (
        lambda d: edit(d / MANIFEST, files=[{"path": "../a", "bytes": 1, "sha256": "0" * 64}]),
        "cut or edited (files.0.path",
    ),
}


@pytest.mark.parametrize("why", DAMAGE)
def test_damage_is_found_and_named(tmp_path, why):
    damage, sentence = DAMAGE[why]
    store = DirectoryStore(tmp_path)
    artifact = published(store, records=("config.json",))
    damage(store.directory(artifact.uri))
    with pytest.raises(Corrupt) as found:
        store.verify(ref_to(artifact))
    assert sentence in str(found.value)
    assert artifact.uri in str(found.value)


@pytest.mark.parametrize("why", [w for w in DAMAGE if "flipped" not in w])
def test_damage_that_sizes_show_hides_an_artifact_from_lookup(tmp_path, why, caplog):
    store = DirectoryStore(tmp_path)
    artifact = published(store)
    DAMAGE[why][0](store.directory(artifact.uri))
    assert store.lookup(a_key(1)) is None
    assert "it is not used" in caplog.text
    assert list(store.all()) == []


def test_a_cut_of_a_manifest_anywhere_is_corrupt(tmp_path):
    store = DirectoryStore(tmp_path)
    directory = store.directory(published(store, files={"a": b"a"}).uri)
    whole = (directory / MANIFEST).read_bytes()
    for size in range(0, len(whole.rstrip()), 3):
        (directory / MANIFEST).write_bytes(whole[:size])
        with pytest.raises(Corrupt):
            read_manifest(directory, Manifest)


def test_a_whole_artifact_under_the_wrong_digest_is_corrupt(tmp_path):
    store = DirectoryStore(tmp_path)
    artifact = published(store)
    with pytest.raises(Corrupt, match="it is whole, but its digest is"):
        store.verify(ArtifactRef(uri=artifact.uri, digest="sha256:" + "0" * 64))


def test_an_artifact_that_is_not_there_is_not_found(tmp_path):
    with pytest.raises(NotFound, match="is not there"):
        DirectoryStore(tmp_path).verify(
            ArtifactRef(uri="artifacts/sft-0", digest="sha256:" + "0" * 64)
        )
