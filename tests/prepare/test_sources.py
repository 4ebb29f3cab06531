import builtins
import json

import huggingface_hub
import pytest
from acereason_trainer.artifacts.store import DirectoryStore
from acereason_trainer.config.sources import FromConfig, HubSource, ResolvedSource
from acereason_trainer.prepare.checks import BadSource
from acereason_trainer.prepare.sources import import_source
from huggingface_hub.errors import HfHubHTTPError
from huggingface_hub.utils import httpx
from stage_builders import a_dataset, a_model, a_tokenizer, safetensors


@pytest.fixture
def store(tmp_path):
    return DirectoryStore(tmp_path / "store")


def at(path):
    return ResolvedSource(path=str(path))


def files_of(store, ref):
    return {entry.path for entry in store.verify(ref).files}


def test_a_file_becomes_an_artifact_named_by_its_content(store, tmp_path):
    ref = import_source(store, at(a_dataset(tmp_path / "d.jsonl")), "data")
    assert ref.uri == f"artifacts/data-{ref.digest[7:39]}"
    assert files_of(store, ref) == {"d.jsonl"}
    assert store.manifest(ref.uri).origin == str(tmp_path / "d.jsonl")


def test_a_source_that_changes_after_its_import_changes_nothing(store, tmp_path):
    path = a_dataset(tmp_path / "d.jsonl")
    first = import_source(store, at(path), "data")
    with path.open("a") as file:
        file.write("{}\n")
    second = import_source(store, at(path), "data")
    assert second.digest != first.digest
    store.verify(first)


def test_the_same_content_is_stored_once(store, tmp_path):
    first = import_source(store, at(a_dataset(tmp_path / "a/d.jsonl")), "data")
    assert import_source(store, at(a_dataset(tmp_path / "b/d.jsonl")), "data") == first
    assert len(store.names()) == 1


def test_an_import_that_was_damaged_in_the_store_is_made_again(store, tmp_path):
    path = a_dataset(tmp_path / "d.jsonl")
    ref = import_source(store, at(path), "data")
    copy = store.directory(ref.uri) / "d.jsonl"
    copy.write_bytes(copy.read_bytes()[::-1])
    assert import_source(store, at(path), "data") == ref
    store.verify(ref)


def test_links_are_followed_and_hidden_files_left_out(store, tmp_path):
    """The form of the hub's cache: links into a folder of blobs."""
    a_dataset(tmp_path / "blobs/0a1b")
    snapshot = tmp_path / "snapshot"
    (snapshot / ".cache").mkdir(parents=True)
    (snapshot / ".cache/x").write_text("x")
    (snapshot / "train").mkdir()
    (snapshot / "train/d.jsonl").symlink_to(tmp_path / "blobs/0a1b")
    ref = import_source(store, at(snapshot), "data")
    assert files_of(store, ref) == {"train/d.jsonl"}


def test_a_model_is_imported_whole(store, tmp_path):
    ref = import_source(store, at(a_model(tmp_path / "m")), "model")
    assert files_of(store, ref) == {
        "config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json",
    }  # fmt: skip
    assert store.manifest(ref.uri).kind == "model"


def test_random_weights_are_a_config_a_tokenizer_and_a_seed(store, tmp_path):
    tokenizer = a_tokenizer(tmp_path / "tokenizer")
    (tokenizer / "notes.txt").write_text("no part of a tokenizer")
    (tmp_path / "tiny.json").write_text('{"model_type": "llama"}')

    def source(seed):
        return ResolvedSource(
            from_config=FromConfig(
                config=str(tmp_path / "tiny.json"), tokenizer=str(tokenizer), seed=seed
            )
        )

    ref = import_source(store, source(3), "model")
    assert files_of(store, ref) == {
        "config.json", "from_config.json", "tokenizer.json", "tokenizer_config.json",
    }  # fmt: skip
    seed = json.loads((store.directory(ref.uri) / "from_config.json").read_text())
    assert seed == {"seed": 3}
    assert import_source(store, source(4), "model").digest != ref.digest


def without(name):
    return lambda d: (d / name).unlink()


BAD_MODELS = {
    "no config": (without("config.json"), "has no config.json"),
    "a config of something else": (
        lambda d: (d / "config.json").write_text("{}"),
        "config.json has no model_type",
    ),
    "a config that is no JSON": (
        lambda d: (d / "config.json").write_text("{"),
        "config.json is not JSON",
    ),
    "no tokenizer": (without("tokenizer.json"), "has no tokenizer"),
    "no weights": (without("model.safetensors"), "has no .safetensors weights"),
    "cut weights": (
        lambda d: (d / "model.safetensors").write_bytes(safetensors(100)[:-1]),
        "model.safetensors is cut",
    ),
    "weights that are none": (
        lambda d: (d / "model.safetensors").write_bytes(b"<html>no such page</html>"),
        "is cut or no safetensors file",
    ),
    "empty weights": (
        lambda d: (d / "model.safetensors").write_bytes(b""),
        "is cut or no safetensors file",
    ),
    "a missing shard": (
        lambda d: (d / "model.safetensors.index.json").write_text(
            '{"weight_map": {"w": "model-2.safetensors"}}'
        ),
        "lacks model-2.safetensors",
    ),
    "a broken link": (lambda d: (d / "x").symlink_to("nowhere"), "x is no file"),
}


@pytest.mark.parametrize("why", BAD_MODELS)
def test_a_model_that_cannot_work_is_refused_with_what_is_wrong(store, tmp_path, why):
    spoil, sentence = BAD_MODELS[why]
    spoil(a_model(tmp_path / "m"))
    with pytest.raises(BadSource) as refused:
        import_source(store, at(tmp_path / "m"), "model")
    assert sentence in str(refused.value)
    assert str(tmp_path / "m") in str(refused.value)
    assert store.names() == []


BAD_DATA = {
    "nothing there": ("d.jsonl", None, "does not exist"),
    "another form": ("d.csv", b"a,b\n", "holds no .jsonl or .parquet file"),
    "an empty file": ("d.jsonl", b"\n", "d.jsonl is empty"),
    "text": ("d.jsonl", b"hello\n", "d.jsonl is not JSONL"),
    "one long array": ("d.jsonl", b"[1, 2]\n", "its first line is no object"),
    "bytes": ("d.jsonl", b"\xff\xfe\x00", "d.jsonl is not JSONL"),
    "a cut parquet file": ("d.parquet", b"PAR1abcdefgh", "is cut or no parquet file"),
    "an empty parquet file": ("d.parquet", b"", "is cut or no parquet file"),
}


@pytest.mark.parametrize("why", BAD_DATA)
def test_data_that_cannot_be_read_is_refused_with_what_is_wrong(store, tmp_path, why):
    name, content, sentence = BAD_DATA[why]
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(BadSource) as refused:
        import_source(store, at(tmp_path / name), "data")
    assert sentence in str(refused.value)


def test_parquet_files_are_data(store, tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table({"problem": ["1+1"], "answer": ["2"]}), tmp_path / "d.parquet")
    ref = import_source(store, at(tmp_path / "d.parquet"), "data")
    assert files_of(store, ref) == {"d.parquet"}


HUB = ResolvedSource(hub=HubSource(id="owner/name", revision="0" * 40))


def test_a_hub_that_cannot_be_reached_is_said_in_a_sentence_that_tells_what_to_do(
    store, tmp_path, monkeypatch
):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    with pytest.raises(ConnectionError, match="give its directory as path"):
        import_source(store, HUB, "model")


def refused(status):
    request = httpx.Request("GET", "https://hub/owner/name")
    return HfHubHTTPError(f"{status}: no", response=httpx.Response(status, request=request))


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (httpx.ReadError("Connection reset by peer"), OSError),
        (httpx.ReadTimeout("The read operation timed out"), OSError),
        (refused(408), OSError),
        (refused(429), OSError),
        (refused(503), OSError),
        (refused(403), BadSource),
    ],
    ids=str,
)
def test_what_may_be_over_later_is_no_bad_source(store, monkeypatch, error, expected):
    def fails(*args, **kwargs):
        raise error

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fails)
    with pytest.raises(expected, match=str(error)):
        import_source(store, HUB, "model")


def test_a_missing_hub_package_is_said_in_a_sentence(store, monkeypatch):
    original = builtins.__import__

    def without_hub(name, *args, **kwargs):
        if name.startswith("huggingface_hub"):
            raise ModuleNotFoundError(name)
        return original(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without_hub)
    with pytest.raises(BadSource, match="needs the package huggingface_hub"):
        import_source(store, HUB, "model")
