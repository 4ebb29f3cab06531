"""Whether the kubeconfig that is to be used is there, and is one: told before anything is begun."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from kubernetes.aio.config import KUBE_CONFIG_DEFAULT_LOCATION

from acereason_operator.runtime.settings import flag

LISTS = ("clusters", "contexts", "users")


def problem(given: Path | None) -> str:
    """What is wrong with it, as a sentence; empty where nothing is. given: the one that was asked
    for; None: kubectl's, which may be several."""
    if given is not None:
        said = _not_one(given) if given.exists() else f"{given} does not exist"
        return f"{flag('kubeconfig')}: {said}" if said else ""
    files = [Path(name).expanduser() for name in KUBE_CONFIG_DEFAULT_LOCATION.split(os.pathsep)]
    there = [file for file in files if file.exists()]
    if there:
        return next((f"KUBECONFIG: {said}" for file in there if (said := _not_one(file))), "")
    return (
        f"{flag('kubeconfig')} is not given, this is no pod, and {' or '.join(map(str, files))}"
        " does not exist; say which file is to be used"
    )


def _not_one(file: Path) -> str:
    try:
        content = yaml.safe_load(file.read_bytes())
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        return f"{file} is not a kubeconfig ({' '.join(str(error).split())})"
    return next((f"{file} is not a kubeconfig ({wrong})" for wrong in _wrong(content)), "")


def _wrong(content: Any) -> Iterator[str]:
    if not isinstance(content, dict):
        yield f"it holds no mapping with {', '.join(LISTS)}"
        return
    for name in LISTS:
        entries = content.get(name) or []
        named = isinstance(entries, list) and all(
            isinstance(entry, dict) and isinstance(entry.get("name"), str) for entry in entries
        )
        if not named:
            yield f"its {name} are no list of named entries"
        elif not all(isinstance(entry.get(name[:-1], {}), dict) for entry in entries):
            yield f"an entry of its {name} has no mapping {name[:-1]}"
