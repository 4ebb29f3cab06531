"""How the attempts of this stage before this one ended, by the words of docs/health.md.

An attempt whose sampler died or whose peer was lost has nobody left who could serve a metric of it;
the next attempt does.
"""

from collections import Counter
from pathlib import Path

from pydantic import ValidationError

from acereason_trainer.config.exit_codes import ExitCode
from acereason_trainer.config.stage_file import ResultRecord


def earlier_ends(work_dir: Path) -> Counter[str]:
    """Numbers of attempts by the reason of their result; work_dir: this attempt's own directory.

    An attempt whose launcher was killed has left no result, and is not counted.
    """
    found: Counter[str] = Counter()
    for file in work_dir.parent.glob("*/result.json"):
        try:
            record = ResultRecord.parse_json(file.read_bytes())
        except (OSError, ValidationError):  # removed meanwhile, or cut short
            continue
        if file.parent != work_dir and record.exit_code != ExitCode.DONE:
            found[record.reason] += 1
    return found
