"""The models that the trainer's benchmark trains, each with an SFT checkpoint to start from.

RL from a model that is never right is no step: without a reward there is nothing to learn, and ours
would leave the backward pass out. So each first learns the task, once; the product's own stage
does it, and finds it done at the next start.
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml
from acereason_trainer.artifacts.store import DirectoryStore
from acereason_trainer.config.stage_file import StageFile

from benchmarks.code_identity import code_identity, remove_others
from benchmarks.stage_files import path_of, stage_file

BUILD = Path("build/bench/trainer")
CODE = code_identity(*(Path("benchmarks") / f"{n}.py" for n in ("stage_files", "trainer_models")))
STORE = BUILD / "store" / CODE
"""Of this code's stages: a checkpoint to start from is not another's, which learned otherwise."""
QUICKSTART = Path("examples/quickstart")
SMOLLM2 = Path("build/smollm2")


@dataclass(frozen=True)
class Subject:
    """A model, its data, and how much of it is measured."""

    name: str
    example: Path
    """The run file whose settings are used."""
    data: Path
    base: Callable[[], Path]
    """Folder of the model before SFT. Raises SystemExit with the command that makes what is not
    there."""
    sft_steps: int
    rl: Mapping[str, Any]
    """What differs from the example's first long math stage."""
    seeds: int
    """Of RL."""
    turns: int
    """RL steps of each seed."""
    per_device: int
    """Responses that TRL trains on at once."""
    peer_cache: str | None
    """TRL's `cache_implementation`, the faster for this model: None grows with the responses, which
    copies it at every token, and `static` attends to room that is not filled yet."""
    one_by_one: bool
    """Whether each arm of ours has a contest with TRL of its own, one after the other: three
    trainers at once are more than its memory is meant for."""
    sft_rows: int
    """Rows of 512 tokens in a step of SFT."""
    sft_rows_at_once: int
    """Rows that ours trains on in one pass; one is the product's default."""
    sft_turns: int
    sft_parts: Mapping[str, int]
    """In how many parts TRL trains on a step's batch, by mode, where that is more than one: the
    fastest way of those that trainer_peer_modes.py measures."""
    sft_contests: Sequence[Sequence[str]]
    """Arms of trainer_sft.py's LAYOUTS and MODES that take turns with one another, one contest
    after the other; `ours` is in each."""


def quickstart_model(out: Path, **changed: int) -> Path:
    """The quickstart's random weights in a folder; `changed` are fields of its configuration."""
    if not (QUICKSTART / "data").exists():
        raise SystemExit("the quickstart's data is not there; make it: make quickstart")
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    config = json.loads((QUICKSTART / "model.json").read_text())
    (out / "config.json").write_text(json.dumps({**config, **changed}))
    (out / "from_config.json").write_text(json.dumps({"seed": 0}))
    for file in (QUICKSTART / "data" / "tokenizer").iterdir():
        shutil.copyfile(file, out / file.name)
    return out


def smollm2_model() -> Path:
    """SmolLM2-135M-Instruct, as examples/smollm2/fetch.py has written it."""
    if not (SMOLLM2 / "model").exists():
        raise SystemExit(f"{SMOLLM2}/model is not there; make it: make {SMOLLM2}/.made")
    return SMOLLM2 / "model"


TINY = Subject(
    name="0.6M",
    example=Path("examples/quickstart.yaml"),
    data=QUICKSTART / "data",
    base=lambda: quickstart_model(BUILD / "tiny", intermediate_size=512),
    sft_steps=2400,
    rl={"maxResponseTokens": 112, "promptsPerStep": 32},
    seeds=8,
    turns=20,
    per_device=64,
    peer_cache="static",
    one_by_one=False,
    sft_rows=8,
    sft_rows_at_once=8,
    sft_turns=96,
    sft_parts={"padded, by length": 2},
    sft_contests=(
        (
            "ours",
            "ours, padded",
            "padded",
            "padded, by length",
            "wrapped",
            "bfd",
            "bfd, row by row",
        ),
    ),
)
REAL = Subject(
    name="SmolLM2-135M",
    example=Path("examples/smollm2-135m.yaml"),
    data=SMOLLM2 / "data",
    base=smollm2_model,
    sft_steps=30,
    rl={"maxResponseTokens": 56, "promptsPerStep": 4},
    seeds=3,
    turns=3,
    # TRL keeps every layer's activations of as many responses until its backward pass, about a
    # megabyte for each token. It draws all of a step's at once, whatever this is.
    per_device=8,
    peer_cache=None,
    one_by_one=True,
    sft_rows=2,
    sft_rows_at_once=1,
    sft_turns=27,
    sft_parts={"wrapped": 2},
    # Each holds its optimizer's state until the end, and long rows that are padded take 10 GiB: all
    # at once would not fit into 16. TRL's two other modes do the same work as two of these with
    # more padding, or with one longer row.
    sft_contests=(("ours", "padded, by length"), ("ours", "wrapped", "bfd, row by row")),
)
LEARNING = replace(
    REAL,
    sft_steps=60,
    rl={**REAL.rl, "optimizer": {"learningRate": 1e-5}, "where": [{"column": "steps", "max": 2}]},
    turns=20,
    one_by_one=False,
)
"""What final rewards are compared on: steps enough to learn something, from a start and on prompts
at which it is right often enough to learn from 32 responses. At three times this learning rate
single runs fell back to less than they began with, and the ends said more of that than of the
trainers. All arms are in one contest: TRL's steps are most of its time, and once is enough of
them."""
SUBJECTS = {s.name: s for s in (TINY, REAL)}


def stage_settings(example: Path, stage: str) -> dict[str, Any]:
    """A stage's settings as its run file has them, without what only people read."""
    spec = yaml.safe_load(example.read_text())["spec"]
    found = next(s for s in spec["stages"] if s["name"] == stage)
    kind = next(k for k in ("sft", "mathRL", "codeRL") if k in found)
    settings = json.loads(json.dumps(found[kind]))
    settings.pop("telemetry", None)
    return {kind: settings}


def start_checkpoint(subject: Subject, steps: int | None = None) -> Path:
    """The directory of the model after SFT; trained first, in a process of its own, where it is
    not there yet. steps: fewer than the subject's, where it need not be able to do much."""
    remove_others(STORE)
    settings = stage_settings(subject.example, "sft")
    settings["sft"]["budget"] = {"steps": min(steps or subject.sft_steps, subject.sft_steps)}
    name = f"sft-{subject.name.lower().replace('.', '-')}"
    data = subject.data / "sft.jsonl"
    return trained_once(stage_file(STORE, settings, name=name, model=subject.base(), data=data))


def trained_once(file: StageFile) -> Path:
    """The directory of a stage's artifact; made in a process with all cores where it is not there
    yet."""
    assert file.prepared is not None
    store = DirectoryStore(Path(file.store))
    if store.lookup(file.prepared.key) is None:
        print(f"  stage {file.stage}, once ...", flush=True)
        command = [sys.executable, "-m", "acereason_trainer", str(path_of(file))]
        subprocess.run(command, check=True, env=environment(), stdout=subprocess.DEVNULL)
    done = store.lookup(file.prepared.key)
    assert done is not None
    return store.directory(done.uri)


def threads() -> int:
    """OMP_NUM_THREADS where it is set, else one for each core. Where other work shares the cores,
    threads that wait for one another cost far more than the work that they share."""
    return int(os.environ.get("OMP_NUM_THREADS") or len(os.sched_getaffinity(0)))


def environment() -> dict[str, str]:
    """Of every contestant: the same threads, and nothing that asks a network."""
    return {
        **os.environ,
        "OMP_NUM_THREADS": str(threads()),
        "TOKENIZERS_PARALLELISM": "false",
        "HF_HUB_OFFLINE": "1",
        "HF_DATASETS_OFFLINE": "1",
        "VLLM_NO_USAGE_STATS": "1",
    }


def written(path: Path, data: Any) -> Path:
    """A JSON file with its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(data))
    return path
