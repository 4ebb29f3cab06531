"""Flags, then variables, then defaults; every mistake is one sentence."""

import os
import subprocess
import sys

import pytest
from acereason_trainer.verifier.settings import BadSettings, Settings, read_settings


def test_flags_win_over_variables_and_variables_over_defaults() -> None:
    environment = {
        "ACEREASON_VERIFIER_PORT": "1",
        "ACEREASON_VERIFIER_CODE_WORKERS": "7",
        "ACEREASON_VERIFIER_URL": "http://for.trainers:1",
    }
    settings = read_settings(["--port", "2", "--grace-seconds=0.5"], environment)
    assert (settings.port, settings.code_workers, settings.grace_seconds) == (2, 7, 0.5)
    assert settings.host == "127.0.0.1"


def test_unset_workers_follow_the_cores_of_the_process() -> None:
    cores = len(os.sched_getaffinity(0))
    settings = read_settings([], {})
    assert (settings.code_workers, settings.math_workers) == (cores, max(1, cores // 4))


@pytest.mark.parametrize(
    ("flags", "environment", "sentence"),
    [
        (["--port=x"], {}, "--port (or ACEREASON_VERIFIER_PORT) is 'x': Input should be a valid"),
        ([], {"ACEREASON_VERIFIER_CODE_WORKERS": "0"}, "--code-workers (or ACEREASON_VERIFIER_COD"),
        (["--queue", "-1"], {}, "greater than or equal to 1"),
    ],
)
def test_a_wrong_setting_is_named_with_what_would_be_right(
    flags: list[str], environment: dict[str, str], sentence: str
) -> None:
    with pytest.raises(BadSettings) as e:
        read_settings(flags, environment)
    assert sentence in str(e.value)


def test_help_explains_every_setting_with_its_default(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as e:
        read_settings(["--help"], {})
    assert e.value.code == 0
    said = " ".join(capsys.readouterr().out.split())
    for name, info in Settings.model_fields.items():
        assert "--" + name.replace("_", "-") in said
        assert " ".join((info.description or "?").split()) in said
    assert "example: acereason-verifier --host 0.0.0.0" in said


def test_a_port_that_is_taken_is_one_sentence() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "acereason_trainer.verifier", "--port=1", "--host=192.0.2.1"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
