"""`python -m acereason_trainer.curation FILE...`: a dry look at a dataset.

The same rules, deduplication, decontamination and mix as a `curate` stage, on one CPU and without a
model; nothing is written unless --out asks for it.
"""

import argparse
import json
import sys
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import yaml

from acereason_trainer.config import yaml_numbers
from acereason_trainer.config.curate import Curate
from acereason_trainer.config.faults import faults_of
from acereason_trainer.config.problems import Problem, path_text
from acereason_trainer.curation.funnel import Funnel
from acereason_trainer.curation.selection import select
from acereason_trainer.dataset import read_rows, write_rows
from acereason_trainer.output_file import OutputRefused, output_file
from acereason_trainer.stage import StageFailure


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit code (0, or 2 for a wrong input)."""
    options = _parser().parse_args(arguments)
    try:
        settings = _settings(options.settings)
        funnel = Funnel()
        rows = chain.from_iterable(read_rows(path, settings.columns) for path in options.files)
        held_out = list(_held_out(options.held_out))
        kept = select(rows, settings, held_out, funnel, f"curate/{options.seed}")
        if options.out is None:
            for _ in kept:
                pass
        else:
            with output_file(options.out, _inputs(options)) as out:
                write_rows(out, kept)
    except (StageFailure, OutputRefused) as e:
        print(f"curate: {e}", file=sys.stderr)
        return 2
    except OSError as e:
        print(f"curate: {e.filename or options.out}: {e.strerror}", file=sys.stderr)
        return 2
    except yaml.YAMLError as e:
        print(
            f"curate: {options.settings} is not YAML: {' '.join(str(e).split())}", file=sys.stderr
        )
        return 2
    except _WrongSettings as e:
        print("\n".join(f"curate: {problem}" for problem in e.problems), file=sys.stderr)
        return 2
    if options.output == "json":
        print(json.dumps(funnel.dump(), indent=1, ensure_ascii=False))
    else:
        print("\n".join(funnel_lines(funnel, examples=options.examples)))
    return 0


def funnel_lines(funnel: Funnel, *, examples: bool) -> Iterator[str]:
    """The funnel as a table for people."""
    yield f"{funnel.rows_in:>12,}  rows in"
    for step in funnel.steps:
        for reason, count in step.dropped.most_common():
            yield f"{-count:>12,}  {step.name}: {reason} ({count / max(step.rows_in, 1):.1%})"
            if examples:
                example = step.examples[reason]
                excerpt = " ".join(example["problem"].split())[:160]
                yield f'{"":14}{example["origin"]}: "{excerpt}"'
                if "detail" in example:
                    yield f"{'':14}{example['detail']}"
        if step.added:
            yield f"{step.added:>+12,}  {step.name}: copies"
    yield f"{funnel.rows_out:>12,}  rows out"


class _WrongSettings(Exception):
    """Settings that are none, with all that is wrong with them."""

    def __init__(self, problems: list[Problem]) -> None:
        super().__init__(problems)
        self.problems = problems


def _settings(path: Path | None) -> Curate:
    if path is None:
        return Curate()
    data: Any = yaml_numbers.load(path.read_bytes()) or {}
    inner = data.get("curate", data) if isinstance(data, dict) else data
    faults = faults_of(Curate, inner)
    if faults:
        raise _WrongSettings(
            [Problem(str(path), None, path_text(where), told) for where, told in faults]
        )
    return Curate.parse(inner)


def _inputs(options: argparse.Namespace) -> list[Path]:
    settings = [options.settings] if options.settings else []
    return [*options.files, *options.held_out, *settings]


def _held_out(paths: list[Path]) -> Iterator[tuple[str, str]]:
    for path in paths:
        for row in read_rows(path):
            yield f"{path}: {row.origin}", row.problem


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="acereason curate",
        description="What a curate stage would drop from a dataset, and why: counts for each "
        "reason. Needs no model, so passRate and maxRows are not applied.",
        epilog="example: acereason curate train.jsonl --held-out aime24.jsonl --examples",
    )
    parser.add_argument(
        "files", nargs="+", type=Path, metavar="FILE", help="JSONL or parquet file, or a directory"
    )
    parser.add_argument(
        "--settings",
        type=Path,
        metavar="FILE",
        help="YAML of a curate stage's settings (default: the defaults)",
    )
    parser.add_argument(
        "--held-out",
        type=Path,
        action="append",
        default=[],
        metavar="FILE",
        help="problems that rows must not overlap with (repeatable)",
    )
    parser.add_argument("--seed", type=int, default=0, help="the run's seed, for mix (default: 0)")
    parser.add_argument(
        "--examples", action="store_true", help="show the first dropped row of each reason"
    )
    parser.add_argument("--out", type=Path, metavar="FILE", help="write the kept rows as JSONL")
    parser.add_argument(
        "-o", "--output", choices=["text", "json"], default="text", help="form of the counts"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
