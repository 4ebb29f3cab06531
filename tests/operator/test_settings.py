"""Settings of the operator: flags, environment, and what is wrong with them."""

import os
import subprocess
import sys

import pytest
from acereason_operator.runtime.settings import (
    Settings,
    WrongSettings,
    flag,
    read_settings,
    variable,
)

IMAGES = {"ACEREASON_TRAINER_IMAGE": "t:1", "ACEREASON_PREPARE_IMAGE": "p:1"}


def test_a_flag_wins_over_the_environment_which_wins_over_the_default() -> None:
    environment = {**IMAGES, "ACEREASON_WORKERS": "3", "ACEREASON_LEASE_NAME": "blue"}
    settings = read_settings(["--workers", "5"], environment)
    assert (settings.workers, settings.lease_name, settings.probe_port) == (5, "blue", 8080)


def test_several_namespaces_are_separated_by_commas() -> None:
    settings = read_settings(["--namespace", "research, teaching,"], IMAGES)
    assert settings.namespace == ["research", "teaching"]


def test_an_empty_variable_is_no_setting() -> None:
    settings = read_settings([], {**IMAGES, "ACEREASON_NAMESPACE": "", "ACEREASON_WORKERS": ""})
    assert (settings.namespace, settings.workers) == ([], Settings.model_fields["workers"].default)


@pytest.mark.parametrize(
    ("words", "environment", "said"),
    [
        ([], {}, "--trainer-image (ACEREASON_TRAINER_IMAGE): is required"),
        (["--workers", "0"], IMAGES, "--workers (ACEREASON_WORKERS): '0': "),
        (["--workers", "many"], IMAGES, "--workers (ACEREASON_WORKERS): 'many': "),
        (
            [],
            {**IMAGES, "ACEREASON_LOG_LEVEL": "loud"},
            "--log-level (ACEREASON_LOG_LEVEL): 'loud'",
        ),
        (["--write-burst", "5"], IMAGES, "5 is below one second of writes (50); use at least that"),
        (["--wrokers", "5"], IMAGES, "unrecognized arguments: --wrokers 5"),
        (["--settling", "soon"], IMAGES, "--settling (ACEREASON_SETTLING): 'soon': "),
    ],
)
def test_a_wrong_setting_is_named_in_one_sentence(
    words: list[str], environment: dict[str, str], said: str
) -> None:
    with pytest.raises(WrongSettings) as wrong:
        read_settings(words, environment)
    assert said in str(wrong.value)
    assert "\n" not in str(wrong.value)


def test_the_process_ends_with_2_and_that_sentence() -> None:
    done = _operator("--workers", "0")
    assert done.returncode == 2
    assert done.stderr.startswith("acereason-operator: --workers (ACEREASON_WORKERS): '0': ")
    assert "Traceback" not in done.stderr


def test_help_names_every_setting_with_its_variable_and_an_example() -> None:
    done = _operator("--help")
    assert done.returncode == 0
    text = " ".join(done.stdout.split())
    for name in Settings.model_fields:
        assert flag(name) in text
        assert variable(name) in text
    assert "example: acereason-operator --kubeconfig" in text


def test_every_setting_says_what_it_is() -> None:
    for name, info in Settings.model_fields.items():
        assert info.description, name


def _operator(*words: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "acereason_operator.runtime", *words],
        env={**os.environ, **IMAGES, "COLUMNS": "500"},
        capture_output=True,
        text=True,
        check=False,
    )
