"""prime_code of verl, the checker that comes from LiveCodeBench's, called as verl's rewards do.

`import verl` would load Ray and torch, and prime_code forks its caller for every program: loading
the one module alone is what makes it fastest.
"""

import sys
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

from timed import one_after_another

NAME = "verl.utils.reward_score"


def _bare_packages() -> None:
    """Packages above prime_code without their own imports."""
    spec = find_spec("verl")
    assert spec is not None and spec.submodule_search_locations
    folder = Path(spec.submodule_search_locations[0])
    names = NAME.split(".")
    for depth in range(1, len(names) + 1):
        module = ModuleType(".".join(names[:depth]))
        module.__path__ = [str(folder.joinpath(*names[1:depth]))]
        sys.modules[module.__name__] = module


_bare_packages()
from verl.utils.reward_score.prime_code import compute_score  # noqa: E402


def grade(case: dict[str, Any]) -> bool:
    """Whether the response's program passes every test."""
    tests = {
        "inputs": [t["input"] for t in case["tests"]],
        "outputs": [t["output"] for t in case["tests"]],
    }
    score, _ = compute_score(case["response"], tests, continuous=True)
    return bool(score == 1)


if __name__ == "__main__":
    one_after_another(grade, ["verl", "numpy"])
