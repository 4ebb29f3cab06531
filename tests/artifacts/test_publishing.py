import errno
import json
import os
import resource
import shutil
import subprocess
import sys
import textwrap
from itertools import count
from pathlib import Path

import pytest
from acereason_trainer.artifacts.errors import StoreFull
from acereason_trainer.artifacts.hashing import hash_files, hash_tree
from acereason_trainer.artifacts.manifest import MANIFEST, tree_digest
from acereason_trainer.artifacts.store import DirectoryStore
from artifact_builders import FILES, a_directory, a_key, published, ref_to
from hypothesis import given
from hypothesis import strategies as st

HERE = Path(__file__).parent


@pytest.fixture
def store(tmp_path: Path) -> DirectoryStore:
    return DirectoryStore(tmp_path / "store")


def hidden(store: DirectoryStore) -> list[str]:
    return [path.name for path in (store.root / "artifacts").iterdir() if path.name[0] == "."]


def test_what_is_published_is_found_by_its_key_and_verifies(store):
    artifact = published(store, records=("config.json",))
    assert store.lookup(a_key(1)) == artifact
    manifest = store.verify(ref_to(artifact))
    assert {f.path: f.record for f in manifest.files} == {
        "config.json": True,
        "weights/a.bin": False,
        "weights/b.bin": False,
    }
    assert artifact.bytes == sum(map(len, FILES.values())) == manifest.total_bytes
    assert [m.key for _, m in store.all()] == [a_key(1)]


def test_publishing_takes_the_files_and_leaves_the_directory(store, tmp_path):
    published(store)
    left = store.root / "work/run/sft/1/export-1"
    assert left.is_dir()
    assert not [path for path in left.rglob("*") if path.is_file()]


def test_a_file_with_a_second_name_is_copied_so_that_writing_to_it_harms_nothing(store, tmp_path):
    source = a_directory(tmp_path / "source", {"curve": b"1\n"})
    os.link(source / "curve", tmp_path / "still-written")
    artifact = store.publish(source, key=a_key(1), kind="model", parents={}, producer=None)
    (tmp_path / "still-written").write_bytes(b"2\n")
    store.verify(ref_to(artifact))


def test_the_first_to_publish_a_key_wins_and_the_second_is_given_the_first(store):
    first = published(store, files={"a": b"first"})
    second = published(store, files={"a": b"second"})
    assert second == first
    assert (store.directory(first.uri) / "a").read_bytes() == b"first"
    assert hidden(store) == []


def test_two_processes_that_publish_one_key_at_once_agree(store, tmp_path):
    """Ten keys, both processes released together for each: one result, the same for both."""
    code = textwrap.dedent("""
        import sys
        from pathlib import Path
        from acereason_trainer.artifacts.store import DirectoryStore
        root, me = Path(sys.argv[1]), sys.argv[2]
        for line in sys.stdin:
            key = line.strip()
            source = root / me / key
            source.mkdir(parents=True)
            (source / "a").write_text(me * 100000)
            artifact = DirectoryStore(root / "store").publish(
                source, key=key, kind="model", parents={}, producer=None)
            print(artifact.digest, flush=True)
    """)
    both = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(tmp_path), me],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for me in "xy"
    ]
    for number in range(10):
        for process in both:
            process.stdin.write(f"{a_key(number)}\n")
            process.stdin.flush()
        digests = {process.stdout.readline().strip() for process in both}
        assert digests == {store.lookup(a_key(number)).digest}
    for process in both:
        process.stdin.close()
        assert process.wait() == 0
    assert hidden(store) == []


def put_another_in_its_place(directory: Path) -> None:
    other = DirectoryStore(directory.parent.parent)
    impostor = published(other, 2, {"a": b"of another key"})
    shutil.rmtree(directory)
    (other.root / impostor.uri).rename(directory)


@pytest.mark.parametrize(
    ("why", "spoil"),
    [
        ("no manifest", lambda d: (d / MANIFEST).unlink()),
        ("a flipped byte", lambda d: (d / "config.json").write_bytes(b"[]")),
        ("a file instead of a directory", lambda d: (shutil.rmtree(d), d.write_text("x"))),
        ("an artifact of another key", put_another_in_its_place),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_no_artifact_gives_way_and_is_not_deleted(store, why, spoil):
    artifact = published(store)
    spoil(store.directory(artifact.uri))
    again = published(store)
    assert again == artifact
    store.verify(ref_to(again))
    assert [name[: len(".aside-")] for name in hidden(store)] == [".aside-"]


def test_a_rename_that_worked_and_reported_a_failure_is_a_success(store, monkeypatch):
    """NFS: the reply was lost, the client asked again, and the source was gone."""
    rename = os.rename

    def replayed(source, target):
        rename(source, target)
        if Path(target).name == a_key(1):
            raise FileNotFoundError(errno.ENOENT, "No such file or directory", str(source))

    monkeypatch.setattr(os, "rename", replayed)
    store.verify(ref_to(published(store)))


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_a_disk_that_is_full_at_any_call_publishes_nothing_and_harms_nothing(
    tmp_path, monkeypatch, code
):
    """The k-th call that can need room fails, for every k until there is no such call."""
    told = 0
    for k in count():
        store = DirectoryStore(tmp_path / f"store-{k}")
        earlier = published(store, 1)
        source = a_directory(store.root / "export")
        os.link(source / "config.json", store.root / "second-name")  # this one is copied
        calls = count()
        with monkeypatch.context() as patch:
            for name in ("fsync", "mkdir", "sendfile", "rename"):
                patch.setattr(os, name, _failing(getattr(os, name), calls, k, code))
            try:
                store.publish(source, key=a_key(2), kind="model", parents={}, producer=None)
            except StoreFull as full:
                told += 1
                assert "no room left to write" in str(full)
                assert "acereason artifacts gc --dry-run" in str(full)
        assert hidden(store) == []
        store.verify(ref_to(earlier))
        left = store.lookup(a_key(2))
        assert left is None or store.verify(ref_to(left))
        if next(calls) <= k:
            break
    assert told > 8


def _failing(call, calls, k, code):
    def maybe(*args, **kwargs):
        if next(calls) == k:
            raise OSError(code, os.strerror(code))
        return call(*args, **kwargs)

    return maybe


FILL = """
import json, sys
from pathlib import Path
from acereason_trainer.artifacts.errors import StoreFull
from acereason_trainer.artifacts.store import DirectoryStore
store = DirectoryStore(Path(sys.argv[1]))
small = store.import_files({"small": b"s" * 1000}, kind="data", origin="")
try:
    store.import_path(Path(sys.argv[2]), "data")
except StoreFull as full:
    store.verify(small)
    print(json.dumps({"message": str(full), "left": sorted(
        p.name for p in (store.root / "artifacts").iterdir() if p.name[0] == ".")}))
"""


def test_a_source_larger_than_what_may_be_written_ends_in_one_sentence(tmp_path):
    """A real limit of the operating system on the size of a file, as a quota would be."""
    (tmp_path / "large.jsonl").write_bytes(b"x" * 200_000)
    limit = 64 * 1024
    done = subprocess.run(
        [sys.executable, "-c", FILL, str(tmp_path / "store"), str(tmp_path / "large.jsonl")],
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
        capture_output=True,
        text=True,
        check=True,
    )
    answer = json.loads(done.stdout)
    assert "large.jsonl" in answer["message"]
    assert answer["left"] == []


SAVE = """
import sys
from pathlib import Path
import numpy
from safetensors.numpy import save_file
from acereason_trainer.artifacts.errors import StoreFull, told_when_full
path = Path(sys.argv[1])
try:
    with told_when_full(path):
        save_file({"weight": numpy.zeros(30_000, dtype=numpy.float32)}, path)
except (StoreFull, OSError) as error:
    print(type(error).__name__, error)
"""


@pytest.mark.parametrize(
    ("below", "told"),
    [
        (".", "StoreFull no room left to write"),
        ("nowhere", "FileNotFoundError [Errno 2]"),
    ],
    ids=["a limit, as a quota would be", "a directory that is gone"],
)
def test_what_keeps_tensors_from_being_written_is_told_as_the_system_says_it(tmp_path, below, told):
    """Their writer tells it in an error of its own, and makes room again before it does."""
    limit = 64 * 1024
    done = subprocess.run(
        [sys.executable, "-c", SAVE, str(tmp_path / below / "model.safetensors")],
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.startswith(told)


def test_a_full_filesystem_ends_in_one_sentence(tmp_path):
    """A real tmpfs of 1 MiB, in a mount namespace of our own where the system allows one; where it
    does not, the limit on the size of a file stands for it."""
    (tmp_path / "large.jsonl").write_bytes(b"x" * 4_000_000)
    (tmp_path / "store").mkdir()
    fill = [sys.executable, "-c", FILL, str(tmp_path / "store"), str(tmp_path / "large.jsonl")]
    mount = f'mount -t tmpfs -o size=1m none {tmp_path}/store && exec "$@"'
    isolated = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", mount, "sh", *fill]
    done = subprocess.run(isolated, capture_output=True, text=True, check=False)
    if done.returncode != 0 and "Traceback" not in done.stderr:
        done = subprocess.run(
            fill,
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20)),
            capture_output=True,
            text=True,
            check=True,
        )
    answer = json.loads(done.stdout)
    assert "no room left to write" in answer["message"]
    assert answer["left"] == []


KILL = """
import os, signal, sys
from itertools import count
from pathlib import Path
from acereason_trainer.artifacts.store import DirectoryStore
root = Path(sys.argv[1])
for k in count():
    pid = os.fork()
    if pid == 0:
        store = DirectoryStore(root / str(k))
        source = root / str(k) / "export"
        source.mkdir(parents=True)
        for name in "abc":
            (source / name).write_bytes(name.encode() * 5000)
        os.link(source / "a", root / str(k) / "second-name")
        events = count()
        def kill(event, args):
            if next(events) == k:
                os.kill(os.getpid(), signal.SIGKILL)
        sys.addaudithook(kill)
        store.publish(source, key="sft-" + "0" * 32, kind="model", parents={}, producer=None)
        os._exit(0)
    _, status = os.waitpid(pid, 0)
    if os.waitstatus_to_exitcode(status) == 0:
        break
    assert os.waitstatus_to_exitcode(status) == -signal.SIGKILL
print(k)
"""


def test_a_publisher_killed_at_any_call_leaves_nothing_or_a_valid_artifact(tmp_path):
    """SIGKILL before the k-th call to the operating system, for every k; then a second try."""
    done = subprocess.run(
        [sys.executable, "-c", KILL, str(tmp_path)], capture_output=True, text=True, check=True
    )
    outcomes = set()
    for k in range(int(done.stdout)):
        store = DirectoryStore(tmp_path / str(k))
        left = store.lookup("sft-" + "0" * 32)
        if left is not None:
            assert len(store.verify(ref_to(left)).files) == 3
        outcomes.add(left is not None)
        second = store.publish(
            a_directory(store.root / "again"),
            key="sft-" + "0" * 32,
            kind="model",
            parents={},
            producer=None,
        )
        assert store.verify(ref_to(second))
        assert left is None or second == left
    assert outcomes == {False, True}


def test_two_runs_share_a_store_and_the_later_one_finds_the_work_of_the_earlier(tmp_path):
    mine = published(DirectoryStore(tmp_path), stage="mine")
    assert DirectoryStore(tmp_path).lookup(a_key(1)) == mine
    assert published(DirectoryStore(tmp_path), stage="yours") == mine
    assert DirectoryStore(tmp_path).manifest(mine.uri).producer.stage == "mine"


names = st.text("abc./", min_size=1, max_size=6).filter(
    lambda n: all(part.strip(".") for part in n.split("/"))
)


@given(files=st.dictionaries(names, st.binary(max_size=20), max_size=6), data=st.data())
def test_the_tree_digest_depends_on_names_and_bytes_alone(files, data):
    shuffled = dict(data.draw(st.permutations(list(files.items()))))
    assert tree_digest(hash_files(files)) == tree_digest(hash_files(shuffled))
    record = data.draw(names.filter(lambda n: n not in files))
    recorded = {**files, record: data.draw(st.binary(max_size=20))}
    assert tree_digest(hash_files(recorded, [record])) == tree_digest(hash_files(files))
    assert tree_digest(hash_files(recorded)) != tree_digest(hash_files(files))


def test_a_tree_on_disk_has_the_digest_of_its_content(tmp_path):
    assert hash_tree(a_directory(tmp_path / "a")) == hash_files(FILES)
