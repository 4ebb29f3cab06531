"""results.json of an evaluation: what was measured, set by set, and nothing that a clock decides.

Two evaluations of the same weights have the same file, byte for byte.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import fmean

from pydantic import Field, ValidationError

from acereason_trainer.config.exit_codes import ExitCode
from acereason_trainer.config.model import Model
from acereason_trainer.evaluation.journal import GradedAnswer
from acereason_trainer.evaluation.metrics import Tally, accuracy, mean_pass_at_k, standard_error
from acereason_trainer.stage import StageFailure

RESULTS_FILE = "results.json"
SAMPLES_FILE = "samples.jsonl"
MAX_UNCHECKED = 0.01
"""Share of answers that may lack a verdict; above it the figures would not mean what they say."""


class SetResult(Model):
    """One benchmark."""

    name: str
    """Name of the set."""
    problems: int
    """Problems measured."""
    samples: int
    """Answers per problem: k of avg@k."""
    accuracy: float
    """avg@k, 0 to 1."""
    standard_error: float | None = None
    """Standard error of `accuracy` over problems; unset for one problem."""
    pass_at: dict[str, float] = Field(default_factory=dict)
    """Unbiased pass@k by k."""
    truncated_share: float
    """Answers that hit the length limit."""
    mean_tokens: float
    """Mean length of an answer."""
    verdicts: dict[str, int]
    """Answers by verdict."""
    correct: dict[str, int]
    """Right answers by problem id: what paired comparisons need."""
    unchecked: dict[str, int] = Field(default_factory=dict)
    """Answers without a verdict by problem id, where there are any; left out of every figure."""

    def tallies(self) -> dict[str, Tally]:
        """Right and checked answers by problem id."""
        return {
            id_: Tally(correct, self.samples - self.unchecked.get(id_, 0))
            for id_, correct in self.correct.items()
        }


class EvaluationResult(Model):
    """results.json."""

    sets: list[SetResult]
    """In the order of the settings."""

    def set_named(self, name: str) -> SetResult:
        """The set of this name. Raises KeyError."""
        return next(s for s in self.sets if s.name == name)


class SetTally:
    """Folds answers, batch by batch, into a set's result."""

    def __init__(self, name: str, row_ids: Iterable[str], samples: int) -> None:
        self._name = name
        self._samples = samples
        self._correct = dict.fromkeys(row_ids, 0)
        self._unchecked: Counter[str] = Counter()
        self._verdicts: Counter[str] = Counter()
        self._truncated = 0
        self._tokens: Counter[str] = Counter()

    def add(self, answers: Iterable[GradedAnswer]) -> None:
        """Count answers."""
        for answer in answers:
            self._correct[answer.row_id] += answer.correct
            self._unchecked[answer.row_id] += not answer.checked
            self._verdicts[answer.verdict] += 1
            self._truncated += answer.truncated
            self._tokens[answer.row_id] += answer.tokens

    def mean_tokens(self) -> dict[str, float]:
        """Mean length of the answers to each problem."""
        return {row_id: self._tokens[row_id] / self._samples for row_id in self._correct}

    def result(self, pass_at: Sequence[int]) -> SetResult:
        """The set's figures.

        Raises StageFailure (temporary) where more than 1 % of the answers, or all of one problem's,
        could not be checked.
        """
        drawn = self._verdicts.total()
        unchecked = +self._unchecked
        if unchecked.total() > MAX_UNCHECKED * drawn or self._samples in unchecked.values():
            raise StageFailure(
                ExitCode.TEMPORARY,
                "Unchecked",
                f"{self._name}: {unchecked.total():,} of {drawn:,} answers could not be "
                "checked (see the stage's log for the verifier's errors); they are never counted "
                "as wrong, so there is no result",
            )
        tallies = [Tally(c, self._samples - unchecked[i]) for i, c in self._correct.items()]
        fewest = min(t.checked for t in tallies)
        return SetResult(
            name=self._name,
            problems=len(tallies),
            samples=self._samples,
            accuracy=accuracy(tallies),
            standard_error=standard_error(tallies),
            pass_at={str(k): mean_pass_at_k(tallies, k) for k in pass_at if k <= fewest},
            truncated_share=self._truncated / drawn,
            mean_tokens=self._tokens.total() / drawn,
            verdicts=dict(sorted(self._verdicts.items())),
            correct=self._correct,
            unchecked=dict(sorted(unchecked.items())),
        )


def read_results(path: Path) -> EvaluationResult:
    """results.json of a file or of an artifact's directory. Raises ValueError with a sentence."""
    file = path / RESULTS_FILE if path.is_dir() else path
    try:
        return EvaluationResult.parse_json(file.read_bytes())
    except FileNotFoundError as e:
        raise ValueError(
            f"{file} does not exist; give an evaluation artifact's directory or its results.json"
        ) from e
    except ValidationError as e:
        raise ValueError(
            f"{file} is not an evaluation's results.json: {e.errors()[0]['msg']}"
        ) from e


def headline_metrics(result: EvaluationResult) -> dict[str, float]:
    """Few figures for a manifest and status: accuracy and standard error by set."""
    metrics = {f"accuracy/{s.name}": s.accuracy for s in result.sets}
    errors = {
        f"standardError/{s.name}": s.standard_error
        for s in result.sets
        if s.standard_error is not None
    }
    problems = {f"problems/{s.name}": float(s.problems) for s in result.sets}
    return metrics | errors | problems | {"accuracy": fmean(metrics.values())}
