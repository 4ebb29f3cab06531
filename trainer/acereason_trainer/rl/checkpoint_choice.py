"""Which weights a stage publishes, and how it is told that validation chose them.

`checkpoint: best` writes the weights of each validation that is better than all before into the
attempt's directory, in Hugging Face form and sealed by a manifest. The curriculum's state names the
place, so that whoever goes on from a state finds the weights that belong to it, whichever attempt
wrote them. Where they are damaged or gone, the next best that are whole take their place, or else
the last ones, and log, record and report say so: the stage's other work is sound.
"""

import json
import secrets
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from acereason_trainer.artifacts.errors import Corrupt
from acereason_trainer.artifacts.flushing import flush, flush_tree, write_flushed
from acereason_trainer.artifacts.hashing import hash_tree
from acereason_trainer.artifacts.manifest import (
    MANIFEST,
    StateManifest,
    now,
    read_manifest,
    tree_digest,
)
from acereason_trainer.artifacts.states import states_of
from acereason_trainer.artifacts.verifying import check_content
from acereason_trainer.checkpoints import LOOP_FILE
from acereason_trainer.config.rl import RL
from acereason_trainer.dataset import problem_id
from acereason_trainer.policy.protocol import Policy
from acereason_trainer.rl.curriculum import Curriculum, Measured
from acereason_trainer.rl.prompts import Prompt
from acereason_trainer.stage import StageContext
from acereason_trainer.telemetry.log_line import say
from acereason_trainer.telemetry.recorder import Recorder
from acereason_trainer.telemetry.run_record import CHOICE_FILE

BEST = "best"
PLACE = "bestWeights"
"""Name in a state's loop.json."""
Check = Callable[[Path, type[StateManifest]], object]
"""Raises Corrupt for a directory that is not whole."""


@dataclass(frozen=True)
class Published:
    """Which of a stage's weights are its result."""

    step: int
    """Optimizer steps that they hold."""
    measured: Measured | None
    """Their own validation, where there was one after that step."""
    place: str | None = None
    """Their directory, relative to the store; None: they are the policy's present ones."""


class BestWeights:
    """The weights of the best validation so far."""

    def __init__(self, context: StageContext, recorder: Recorder) -> None:
        self._context = context
        self._peers = context.peers
        self._recorder = recorder

    def kept(self, state: Curriculum, stage: RL, policy: Policy) -> Curriculum:
        """The state with the place of the best weights, which are written where they are new, and
        without those that are damaged or gone.

        All ranks must call, with the policy at this state's step.
        """
        if stage.checkpoint != "best":
            return state
        state = self._at_hand(state, read_manifest)
        if state.best is None or state.best.step != state.step:
            return state
        earlier = [*state.earlier_weights, *([state.best_weights] if state.best_weights else [])]
        written = self._written(state.step, policy)
        return state.model_copy(update={"best_weights": written, "earlier_weights": earlier})

    def published(self, state: Curriculum, stage: RL) -> tuple[Curriculum, Published]:
        """What the stage publishes, every byte of it checked, and the state without what turned out
        to be lost. All ranks must call, with the policy at this state's step."""
        present = Published(state.step, state.measured)
        if stage.checkpoint != "best":
            return state, present
        state = self._at_hand(state, check_content)
        if state.best is None or state.best.step == state.step:
            return state, present
        return state, Published(state.best.step, state.best, state.best_weights)

    def export(self, place: str) -> Callable[[Path], None]:
        """What writes the weights of a place into a directory."""

        def write(directory: Path) -> None:
            if self._peers.leads:
                left_out = shutil.ignore_patterns(MANIFEST)
                source = self._context.store / place
                shutil.copytree(source, directory, ignore=left_out, dirs_exist_ok=True)

        return write

    def _at_hand(self, state: Curriculum, check: Check) -> Curriculum:
        """The state whose best validation is one whose weights are whole, or are the present ones.
        All ranks must call."""
        place, lost = self._peers.led(lambda: self._looked_for(state, check))
        return state.model_copy(update={"best_weights": place, "lost": [*state.lost, *lost]})

    def _looked_for(self, state: Curriculum, check: Check) -> tuple[str | None, list[int]]:
        """Where the best weights are that are whole, and the steps of those that are lost."""
        lost: list[int] = []
        there = [p for p in state.earlier_weights if (self._context.store / p).exists()]
        kept = [*there, *([state.best_weights] if state.best_weights else [])]
        places = {int(Path(place).name): place for place in kept}
        while state.best is not None and state.best.step != state.step:
            step = state.best.step
            try:
                if step in places:
                    check(self._context.store / places[step], StateManifest)
                    return places[step], lost
            except Corrupt as error:
                say(
                    f"BestWeightsLost: {error}; the best validation was after step {step}, and the "
                    "next best whose weights are whole takes its place"
                )
            lost.append(step)
            state = state.model_copy(update={"lost": [*state.lost, step]})
        return state.best_weights, lost

    def forget(self) -> None:
        """Remove all best weights of the stage: it is published."""
        if self._peers.leads:
            for directory in self._all():
                _remove(directory)

    def _written(self, step: int, policy: Policy) -> str:
        directory = self._context.work_dir / BEST / f"{step:08d}"
        fresh = directory.with_name(f".{step:08d}-{secrets.token_hex(8)}")
        fresh = self._peers.led(lambda: fresh)

        def replace() -> None:
            self._seal(fresh, step)
            shutil.rmtree(directory, ignore_errors=True)
            fresh.rename(directory)
            flush(directory.parent)
            self._drop_needless(directory)

        with self._recorder.phase("save"):
            self._peers.led(lambda: fresh.mkdir(parents=True))
            policy.export(fresh)
            self._peers.led(replace)
        return directory.relative_to(self._context.store).as_posix()

    def _seal(self, directory: Path, step: int) -> None:
        files = hash_tree(directory)
        manifest = StateManifest(
            key=self._context.prepared.key,
            digest=tree_digest(files),
            files=files,
            step=step,
            salt=self._context.prepared.salt,
            created_at=now(),
        )
        flush_tree(directory)
        write_flushed(directory / MANIFEST, manifest.sealed().text())

    def _drop_needless(self, newest: Path) -> None:
        """Remove what no state of this work goes on from any more: a state, also one that is still
        being written, names no weights of fewer steps than those that came before it."""
        key = self._context.prepared.key
        states = states_of(self._context.work_dir.parent)
        places = [_place_in(s.directory) for s in states if s.manifest.key == key]
        oldest = min((Path(place).name for place in places if place), default="")
        for directory in self._all():
            if int(directory.parent.parent.name) > int(self._context.work_dir.name):
                continue  # of an attempt that took over from this one
            passed = directory.name < oldest and directory != newest and _is_of(key, directory)
            if directory.name.startswith(".") or passed:
                _remove(directory)

    def _all(self) -> Iterator[Path]:
        """The best weights of every attempt, half-written ones too."""
        yield from self._context.work_dir.parent.glob(f"*/{BEST}/*")


def _remove(directory: Path) -> None:
    """What does not go costs room: an attempt that nobody could end may still write there, or
    remove the same."""
    shutil.rmtree(directory, ignore_errors=True)


def _is_of(key: str, weights: Path) -> bool:
    """Whether best weights are of this work; also where nobody can tell."""
    try:
        return read_manifest(weights, StateManifest).key == key
    except Corrupt:
        return True


def _place_in(state: Path) -> str | None:
    """The best weights that a state names; None where it has just been removed."""
    try:
        loop: dict[str, str] = json.loads((state / LOOP_FILE).read_text())
    except FileNotFoundError:
        return None
    return loop.get(PLACE)


def choice_record(
    stage: RL, state: Curriculum, published: Published, held_out: Sequence[Prompt]
) -> dict[str, str]:
    """A record file for the artifact where validation chose something; by name.

    It names the problems by their text, so that a report can tell whether an evaluation measures
    on the same ones; and the steps of better validations whose weights were lost.
    """
    chosen = {"checkpoint": stage.checkpoint == "best", "stop": stage.stop.plateau is not None}
    if not any(chosen.values()):
        return {}
    content = {
        "chosen": [name for name, by_validation in chosen.items() if by_validation],
        "step": published.step,
        "lost": sorted(state.lost),
        "validations": [v.model_dump(exclude={"scores"}) for v in state.validations],
        "problems": sorted({problem_id(p.row.problem) for p in held_out}),
    }
    return {CHOICE_FILE: json.dumps(content, indent=1) + "\n"}
