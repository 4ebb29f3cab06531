"""The lock installs everywhere: no address of a registry, every requirement in it."""

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
LOCK = (ROOT / "requirements.lock").read_text()


def test_the_lock_names_no_registry() -> None:
    assert not re.search(r"://|^\s*-", LOCK, re.MULTILINE)


def test_every_requirement_is_locked() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    locked_extras = ("verifier", "trainer", "dev")
    wanted = project["dependencies"] + [line for extra in locked_extras for line in extras[extra]]
    names = {re.split(r"[^A-Za-z0-9-]", line)[0].lower() for line in wanted} - {project["name"]}
    locked = {line.split("==")[0] for line in LOCK.splitlines() if "==" in line}
    assert names <= locked, "run: make lock"
