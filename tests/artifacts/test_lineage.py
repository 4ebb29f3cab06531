import pytest
from acereason_trainer.artifacts.errors import NotFound
from acereason_trainer.artifacts.lineage import Ambiguous, draw, every, find, lineage
from acereason_trainer.artifacts.store import DirectoryStore
from artifact_builders import a_key, published


@pytest.fixture
def store(tmp_path):
    return DirectoryStore(tmp_path)


def test_lineage_goes_back_to_the_imports_and_draws_a_shared_ancestor_once(store, tmp_path):
    base = store.import_files({"w": b"base"}, kind="model", origin="/models/base")
    raw = store.import_files({"d.jsonl": b"{}"}, kind="data", origin="/data/raw.jsonl")
    data = published(
        store, 1, {"d.jsonl": b"1"}, stage="prompts", kind="data", parents={"data": raw.digest}
    )
    sft = published(
        store,
        2,
        {"w": b"2"},
        stage="sft",
        parents={"model": base.digest, "data": data.digest},
    )
    rl = published(
        store, 3, {"w": b"3"}, stage="rl", parents={"model": sft.digest, "data": data.digest}
    )
    tree = lineage(store, store.manifest(rl.uri))
    assert draw(tree).splitlines() == [
        f"{a_key(3)}  run/rl, attempt 1, step 3",
        f"├─ model: {a_key(2)}  run/sft, attempt 1, step 2",
        f"│  ├─ model: {base.uri.removeprefix('artifacts/')}  imported from /models/base",
        f"│  └─ data: {a_key(1)}  run/prompts, attempt 1, step 1",
        f"│     └─ data: {raw.uri.removeprefix('artifacts/')}  imported from /data/raw.jsonl",
        f"└─ data: {a_key(1)}  run/prompts, attempt 1, step 1 (as above)",
    ]
    assert len(every(tree)) == 5


def test_a_stage_that_publishes_what_it_read_does_not_go_round_in_circles(store):
    raw = store.import_files({"d.jsonl": b"{}"}, kind="data", origin="raw")
    same = published(store, 1, {"d.jsonl": b"{}"}, kind="data", parents={"data": raw.digest})
    assert same.digest == raw.digest
    again = published(store, 2, {"d.jsonl": b"{}"}, kind="data", parents={"data": same.digest})
    assert [n.manifest.key for n in every(lineage(store, store.manifest(again.uri)))][-1] == (
        raw.uri.removeprefix("artifacts/")
    )


def test_a_parent_that_was_collected_is_named_by_its_digest(store):
    gone = "sha256:" + "d" * 64
    child = published(store, 1, parents={"model": gone})
    assert f"└─ model: {gone[:19]}… (no longer in this store)" in draw(
        lineage(store, store.manifest(child.uri))
    )


def test_many_stages_that_share_parents_are_followed_once_each(store):
    """Forty stages, each reading the two before it: the tree has 2^20 paths and more."""
    digests = ["sha256:" + "0" * 64] * 2
    for i in range(40):
        made = published(store, i, {"w": b"%d" % i}, parents={"a": digests[-1], "b": digests[-2]})
        digests.append(made.digest)
    tree = lineage(store, store.manifest(made.uri))
    assert len(every(tree)) == 41
    assert len(draw(tree).splitlines()) < 200


def test_people_name_an_artifact_by_key_digest_start_or_stage(store):
    one = published(store, 1, {"w": b"1"}, stage="sft")
    published(store, 2, {"w": b"2"}, stage="rl")
    for name in (a_key(1), one.uri, a_key(1)[:], one.digest[:20], one.digest[7:19], "run/sft"):
        assert find(store, name).key == a_key(1)
    with pytest.raises(Ambiguous, match="stands for 2 artifacts"):
        find(store, "sft-")
    for nothing in ("run/none", "zzz", "", "artifacts/"):
        with pytest.raises(NotFound):
            find(store, nothing)
