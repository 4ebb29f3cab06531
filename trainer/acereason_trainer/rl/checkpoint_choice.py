"""Which weights a stage publishes, and how it is told that validation chose them.

`checkpoint: best` writes the weights of each validation that is better than all before into the
attempt's directory, in Hugging Face form and sealed by a manifest. The curriculum's state names the
place, so that whoever goes on from a state finds the weights that belong to it, whichever attempt
wrote them.
"""

import json
import secrets
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

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
from acereason_trainer.telemetry.recorder import Recorder
from acereason_trainer.telemetry.run_record import CHOICE_FILE

BEST = "best"
PLACE = "bestWeights"
"""Name in a state's loop.json."""


class BestWeights:
    """The weights of the best validation so far."""

    def __init__(self, context: StageContext, recorder: Recorder) -> None:
        self._context = context
        self._peers = context.peers
        self._recorder = recorder

    def kept(self, state: Curriculum, stage: RL, policy: Policy) -> Curriculum:
        """The state with the place of the best weights, which are written where they are new.

        All ranks must call, with the policy at this state's step. Raises Corrupt where the weights
        that a state named are gone.
        """
        if stage.checkpoint != "best":
            return state
        if state.best is not None and state.best.step == state.step:
            return state.model_copy(update={"best_weights": self._written(state.step, policy)})
        if state.best_weights is not None:
            read_manifest(self._context.store / state.best_weights, StateManifest)
        return state

    def export(self, state: Curriculum) -> Callable[[Path], None]:
        """What writes them into a directory, every byte checked; raises Corrupt."""
        assert state.best_weights is not None
        best = self._context.store / state.best_weights

        def write(directory: Path) -> None:
            if self._peers.leads:
                check_content(best, StateManifest)
                left_out = shutil.ignore_patterns(MANIFEST)
                shutil.copytree(best, directory, ignore=left_out, dirs_exist_ok=True)

        return write

    def forget(self) -> None:
        """Remove all best weights of the stage: it is published."""
        if self._peers.leads:
            for directory in self._all():
                shutil.rmtree(directory)

    def _written(self, step: int, policy: Policy) -> str:
        directory = self._context.work_dir / BEST / f"{step:08d}"
        fresh = directory.with_name(f".{step:08d}-{secrets.token_hex(8)}")
        fresh = self._peers.led(lambda: fresh)

        def replace() -> None:
            self._seal(fresh, step)
            shutil.rmtree(directory, ignore_errors=True)
            fresh.rename(directory)
            flush(directory.parent)
            self._drop_needless()

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

    def _drop_needless(self) -> None:
        """Remove what no state goes on from any more: a state, also one that is still being
        written, names no weights of fewer steps than those that came before it."""
        states = states_of(self._context.work_dir.parent)
        loops = [json.loads((state.directory / LOOP_FILE).read_text()) for state in states]
        oldest = min((Path(loop[PLACE]).name for loop in loops if PLACE in loop), default="")
        for directory in self._all():
            if directory.name < oldest or directory.name.startswith("."):
                shutil.rmtree(directory)

    def _all(self) -> Iterator[Path]:
        """The best weights of every attempt, half-written ones too."""
        yield from self._context.work_dir.parent.glob(f"*/{BEST}/*")


def choice_record(stage: RL, state: Curriculum, held_out: Sequence[Prompt]) -> dict[str, str]:
    """A record file for the artifact where validation chose something; by name.

    It names the problems by their text, so that a report can tell whether an evaluation measures
    on the same ones.
    """
    chosen = {"checkpoint": stage.checkpoint == "best", "stop": stage.stop.plateau is not None}
    if not any(chosen.values()):
        return {}
    content = {
        "chosen": [name for name, by_validation in chosen.items() if by_validation],
        "step": published_step(stage, state),
        "validations": [v.dump() for v in state.validations],
        "problems": sorted({problem_id(p.row.problem) for p in held_out}),
    }
    return {CHOICE_FILE: json.dumps(content, indent=1) + "\n"}


def published_step(stage: RL, state: Curriculum) -> int:
    """Optimizer steps that the published weights hold."""
    return state.best.step if stage.checkpoint == "best" and state.best else state.step


def published_validation(stage: RL, state: Curriculum) -> Measured | None:
    """The validation of the published weights; of the last ones, the last there was, if any."""
    if stage.checkpoint == "best":
        return state.best
    return state.validations[-1] if state.validations else None
