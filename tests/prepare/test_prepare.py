import json
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from acereason_trainer.artifacts.locks import holding, is_held
from acereason_trainer.artifacts.retention import COLLECTING
from acereason_trainer.artifacts.store import DirectoryStore
from acereason_trainer.config.read_stage_file import read_stage_file
from acereason_trainer.config.sources import MOST_HELD_OUT
from acereason_trainer.config.stage_file import (
    PreparedInputs,
    PrepareRecord,
    PublishedArtifact,
    ResumeState,
    StageFile,
)
from acereason_trainer.prepare.key import stage_key
from acereason_trainer.prepare.preparing import prepared
from acereason_trainer.termination_log import LARGEST_RECORD
from stage_builders import a_dataset, a_model, a_stage_file, written

from tests.artifacts.artifact_builders import write_state
from tests.waiting import PATIENCE, wait_for


@pytest.fixture
def world(tmp_path: Path) -> Path:
    a_dataset(tmp_path / "d.jsonl")
    a_model(tmp_path / "model")
    return tmp_path


def a_file(world: Path, **changes) -> StageFile:
    inputs = {"data": {"path": str(world / "d.jsonl")}, "model": {"path": str(world / "model")}}
    return a_stage_file(world / "store", **{"inputs": inputs, **changes})


def store_of(world: Path) -> DirectoryStore:
    return DirectoryStore(world / "store")


def with_artifacts(file: StageFile, record: PrepareRecord) -> StageFile:
    """The next attempt's file: inputs are artifacts now, as the planner pins them."""
    refs = record.inputs.dump()
    inputs = {name: {"artifact": refs[name]} for name in ("model", "data")}
    return StageFile.parse_json(json.dumps({**file.dump(), "inputs": inputs}))


def publish(world: Path, record: PrepareRecord, content: bytes = b"weights"):
    source = world / "export"
    source.mkdir(exist_ok=True)
    (source / "w").write_bytes(content)
    return store_of(world).publish(source, key=record.key, kind="model", parents={}, producer=None)


def flip(path: Path) -> None:
    path.write_bytes(bytes([path.read_bytes()[0] ^ 1]) + path.read_bytes()[1:])


def prepare(path: Path, **options) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "acereason_trainer.prepare", str(path)]
    return subprocess.run(command, capture_output=True, text=True, check=False, **options)


def record_beside(path: Path) -> PrepareRecord:
    content = (path.parent / "prepare.json").read_bytes()
    assert len(content) <= 4096
    return PrepareRecord.parse_json(content)


def test_a_fresh_stage_gets_verified_inputs_and_its_key_and_starts_from_the_beginning(world):
    path = written(a_file(world))
    done = prepare(path)
    assert (done.returncode, done.stderr) == (0, "starts from the beginning\n")
    record = record_beside(path)
    assert record.exit_code == 0
    assert record.key == stage_key(read_stage_file(path), record.inputs)
    assert (record.reused, record.resume) == (None, None)
    for ref in (record.inputs.model, record.inputs.data):
        store_of(world).verify(ref)


def test_finished_work_is_found_by_another_run(world):
    first = prepared(a_file(world))
    artifact = publish(world, first)
    record = prepared(a_file(world, run="another", stage="other-name"))
    assert record.reused == artifact
    assert record.key == first.key
    assert "holds this work already" in record.message


def test_finished_work_that_was_damaged_is_not_used_again(world):
    artifact = publish(world, prepared(a_file(world)))
    flip(store_of(world).directory(artifact.uri) / "w")
    record = prepared(a_file(world))
    assert (record.exit_code, record.reused) == (0, None)
    assert publish(world, record) == artifact
    assert prepared(a_file(world)).reused == artifact


def test_an_attempt_goes_on_from_the_newest_good_state_and_the_salt_bounds_it(world):
    key = prepared(a_file(world)).key
    for step in (10, 20):
        write_state(world / "store" / "work/run/sft/1", key, step)
    record = prepared(a_file(world, attempt=2))
    assert (record.resume.path, record.resume.step) == ("work/run/sft/1/states/00000020", 20)
    assert record.message == "goes on from work/run/sft/1/states/00000020"
    assert prepared(a_file(world, salt=1, beforeStep=15)).resume.step == 10
    assert prepared(a_file(world, seed=5)).resume is None
    flip(world / "store" / "work/run/sft/1/states/00000020/weights")
    assert prepared(a_file(world, attempt=2)).resume.step == 10


@pytest.mark.parametrize("name", ["model", "data"])
@pytest.mark.parametrize(
    ("why", "damage"),
    [
        ("flipped", flip),
        ("missing", Path.unlink),
        ("gone", lambda file: file.parent.rename(file.parent.parent / "elsewhere")),
    ],
)
def test_a_corrupt_input_ends_with_65_and_is_named(world, name, why, damage):
    record = prepared(a_file(world))
    ref = getattr(record.inputs, name)
    file = {"model": "config.json", "data": "d.jsonl"}[name]
    damage(store_of(world).directory(ref.uri) / file)
    path = written(with_artifacts(a_file(world), record))
    done = prepare(path)
    assert done.returncode == 65
    found = record_beside(path)
    assert found.corrupt_input == name
    assert found.message.startswith(f"input {name}: ")
    assert done.stderr.strip() == found.message


def test_a_held_out_set_is_named_by_its_place(world):
    held_out = [{"path": str(a_dataset(world / f"h{i}.jsonl", i + 1))} for i in range(2)]
    inputs = {"data": {"path": str(world / "d.jsonl")}, "heldOut": held_out}
    settings = {"curate": {}}
    record = prepared(a_file(world, inputs=inputs, settings=settings))
    assert len(record.inputs.held_out) == 2
    second = record.inputs.held_out[1]
    flip(store_of(world).directory(second.uri) / "h1.jsonl")
    inputs["heldOut"][1] = {"artifact": second.dump()}
    assert prepared(a_file(world, inputs=inputs, settings=settings)).corrupt_input == "heldOut[1]"


BAD = {
    "a path that is not there": ({"data": {"path": "/nowhere.jsonl"}}, "input data: /nowhere"),
    "a model that is a file": ({"model": {"path": "D"}}, "a model is a directory"),
    "an artifact of another kind": ({"model": "DATA"}, "holds data; model is needed"),
    "data from a config": (
        {"data": {"fromConfig": {"config": "c", "tokenizer": "t", "seed": 0}}},
        "only a model can be made from a config",
    ),
}


@pytest.mark.parametrize("why", BAD)
def test_a_source_that_cannot_be_used_ends_with_78_and_a_sentence(world, why):
    inputs, sentence = BAD[why]
    data = prepared(a_file(world)).inputs.data
    text = json.dumps(inputs).replace('"DATA"', json.dumps({"artifact": data.dump()}))
    record = prepared(a_file(world, inputs=json.loads(text.replace('"D"', f'"{world}/d.jsonl"'))))
    assert record.exit_code == 78
    assert sentence in record.message


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("a: [", "is not YAML"),
        ("run: 3", "is no stage file: "),
        ("when: 2026-01-31", "is no stage file: "),
        ("\x00", "is not YAML"),
    ],
)
def test_a_file_that_is_no_stage_file_ends_with_78_and_a_sentence(world, content, sentence):
    path = world / "stage.yaml"
    path.write_text(content)
    message = world / "termination-log"
    done = prepare(path, env=os.environ | {"ACEREASON_TERMINATION_LOG": str(message)})
    assert done.returncode == 78
    assert sentence in done.stderr
    assert done.stderr.count("\n") == 1
    assert PrepareRecord.parse_json(message.read_bytes()).exit_code == 78


def test_an_object_store_is_refused_in_a_sentence(world):
    record = prepared(a_file(world).model_copy(update={"store": "s3://bucket/prefix"}))
    assert (record.exit_code, "only directories" in record.message) == (78, True)


def test_a_full_disk_ends_with_75_and_can_be_tried_again(world):
    """A limit on the size of a file stands for the disk; then there is room."""
    a_dataset(world / "d.jsonl", 5000)
    path = written(a_file(world))
    limit = 64 * 1024
    done = prepare(
        path, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    )
    assert done.returncode == 75
    assert "no room left to write" in record_beside(path).message
    assert [p.name for p in (world / "store/artifacts").glob(".*")] == []
    assert prepare(path).returncode == 0


def test_a_store_that_cannot_be_read_ends_with_75(world):
    (world / "store").mkdir()
    (world / "store/artifacts").write_text("in the way")
    record = prepared(a_file(world))
    assert record.exit_code == 75
    assert "cannot be read or written now" in record.message


def test_a_second_start_of_the_same_attempt_leaves_the_first_alone(world):
    path = written(a_file(world))
    with holding(path.parent / "prepare.lock"):
        done = prepare(path)
    assert done.returncode == 75
    assert f"is held by process {os.getpid()}" in done.stderr
    assert not (path.parent / "prepare.json").exists()


def test_sigterm_ends_with_143_and_leaves_no_record_of_success(world):
    path = written(a_file(world))
    lock = path.parent / "prepare.lock"
    with holding(world / "store" / COLLECTING):  # so it waits inside its work
        process = subprocess.Popen(
            [sys.executable, "-m", "acereason_trainer.prepare", str(path)],
            stderr=subprocess.PIPE,
            text=True,
        )
        wait_for(lambda: is_held(lock) or process.poll() is not None, "the lock")
        assert lock.read_text() in ("", f"{process.pid}\n")
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=PATIENCE)
    assert process.returncode == 143
    assert said == "stopped on request\n"
    assert not (path.parent / "prepare.json").exists()
    assert not is_held(lock)


def test_an_old_answer_never_outlives_the_start_of_a_new_one(world):
    path = written(a_file(world))
    assert prepare(path).returncode == 0
    (world / "d.jsonl").unlink()
    assert prepare(path).returncode == 78
    assert record_beside(path).key is None


def test_a_stage_file_on_a_read_only_mount_leaves_its_records_in_the_attempts_directory(world):
    """As in a pod: the file is mounted from somewhere, the termination log is a file of its own."""
    file = a_file(world)
    mount, message = world / "mount", world / "termination-log"
    mount.mkdir()
    (mount / "stage.yaml").write_text(json.dumps(file.dump()))
    mount.chmod(0o555)
    message.touch()
    done = prepare(
        mount / "stage.yaml", env=os.environ | {"ACEREASON_TERMINATION_LOG": str(message)}
    )
    assert (done.returncode, done.stderr) == (0, "starts from the beginning\n")
    directory = world / "store" / file.work_dir
    assert [path.name for path in mount.iterdir()] == ["stage.yaml"]
    assert read_stage_file(directory / "stage.yaml") == file
    assert message.read_bytes() == (directory / "prepare.json").read_bytes()


def test_a_stop_is_told_in_the_termination_log(world):
    path, message = written(a_file(world)), world / "termination-log"
    with holding(world / "store" / COLLECTING):  # so it waits inside its work
        process = subprocess.Popen(
            [sys.executable, "-m", "acereason_trainer.prepare", str(path)],
            env=os.environ | {"ACEREASON_TERMINATION_LOG": str(message)},
        )
        lock = path.parent / "prepare.lock"
        wait_for(lambda: is_held(lock) or process.poll() is not None, "the lock")
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE) == 143
    assert PrepareRecord.parse_json(message.read_bytes()).exit_code == 143


def test_a_stop_that_comes_when_all_is_done_changes_no_end(world):
    """As while the record is told; the termination log waits for its reader here."""
    path, message = written(a_file(world)), world / "termination-log"
    os.mkfifo(message)
    process = subprocess.Popen(
        [sys.executable, "-m", "acereason_trainer.prepare", str(path)],
        env=os.environ | {"ACEREASON_TERMINATION_LOG": str(message)},
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    assert process.stderr.readline() == "starts from the beginning\n"
    process.send_signal(signal.SIGTERM)
    assert PrepareRecord.parse_json(message.read_bytes()).exit_code == 0
    _, said = process.communicate(timeout=PATIENCE)
    assert (process.returncode, said) == (0, "")


def test_a_termination_log_that_cannot_be_written_changes_no_end(world):
    path = written(a_file(world))
    done = prepare(path, env=os.environ | {"ACEREASON_TERMINATION_LOG": str(world)})
    assert done.returncode == 0
    assert done.stderr.splitlines()[-1].startswith("warning: ACEREASON_TERMINATION_LOG=")


def test_as_many_held_out_sets_as_a_run_may_have_fit_into_the_record(world):
    held_out = [
        {"path": str(a_dataset(world / f"h{i}.jsonl", i + 1))} for i in range(MOST_HELD_OUT)
    ]
    inputs = {"data": {"path": str(world / "d.jsonl")}, "model": {"path": str(world / "model")}}
    path = written(a_file(world, inputs={**inputs, "heldOut": held_out}, settings={"curate": {}}))
    assert prepare(path).returncode == 0
    record = record_beside(path)
    assert len(set(record.inputs.held_out)) == MOST_HELD_OUT
    key, digest = record.key, record.inputs.data.digest
    state = f"work/{'r' * 40}/{'s' * 40}/9999/states/999999999"
    largest = record.model_copy(
        update={
            "message": f"goes on from {state}",
            "resume": ResumeState(path=state, step=999_999_999, digest=digest),
            "reused": PublishedArtifact(
                uri=f"artifacts/{key}", digest=digest, bytes=10**15, kind="data"
            ),
        }
    )
    assert len(json.dumps(largest.dump(), separators=(",", ":"))) <= LARGEST_RECORD


def test_a_record_that_would_not_fit_is_a_sentence(world):
    ref = store_of(world).import_path(a_dataset(world / "h.jsonl"), "data")
    long = {"artifact": {**ref.dump(), "uri": ref.uri.replace("/", "/." * 300 + "/", 1)}}
    inputs = {"data": {"path": str(world / "d.jsonl")}, "heldOut": [long] * 6}
    path = written(a_file(world, inputs=inputs, settings={"curate": {}}))
    assert prepare(path).returncode == 78
    assert "name artifacts below the store" in record_beside(path).message


def test_help_shows_an_example():
    done = subprocess.run(
        [sys.executable, "-m", "acereason_trainer.prepare", "--help"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "python -m acereason_trainer.prepare" in done.stdout
    assert "stage.yaml" in done.stdout


def test_prepare_never_loads_torch():
    code = (
        "import sys, acereason_trainer.prepare.__main__ as m; "
        "sys.exit(any(n in sys.modules for n in ('torch', 'transformers', 'kubernetes')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_two_inputs_of_one_artifact_are_both_checked_for_their_kind(world):
    record = prepared(a_file(world))
    data = {"artifact": record.inputs.data.dump()}
    both = prepared(a_file(world, inputs={"data": data, "validation": data}))
    assert both.inputs == PreparedInputs(data=record.inputs.data, validation=record.inputs.data)
