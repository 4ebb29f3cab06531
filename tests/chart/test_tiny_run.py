"""What `helm test` runs, against an API server that is away, busy or slow to learn.

(test_chart_life.py runs it against a real one, which is none of these.)
"""

import asyncio
import importlib.util
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from tests.chart.rendered_chart import CHART

PLACE = {"name": "test-ace", "namespace": "lab"}
PATIENCE = 900.0
COMPLETE = {"conditions": [{"type": "Complete", "status": "True"}]}
Answer = tuple[int, Any]


class World:
    """An API server's objects, by their paths, and its clock, which no machine slows."""

    def __init__(self) -> None:
        self.now = 0.0
        self.objects: dict[str, Any] = {}
        self.stays = ""
        """A kind that is never gone."""

    def answer(self, method: str, path: str) -> Answer:
        """What a healthy server does."""
        if method == "POST":
            if self.objects:
                return 409, {"reason": "AlreadyExists", "message": "it is there"}
            for kind in ("acereasonruns", "persistentvolumeclaims"):
                self.objects[kind] = {"metadata": {**PLACE, "uid": kind}, "status": COMPLETE}
            return 201, {}
        kind = path.split("/")[-2]
        if kind not in self.objects:
            return 404, {"message": "not found"}
        if method == "DELETE":
            if kind == self.stays:
                self.now += PATIENCE
            else:
                del self.objects[kind]
            return 200, {}
        return 200, self.objects[kind]


@contextmanager
def served(answer: Callable[[str, str], Answer]) -> Iterator[str]:
    """The address of a server that answers so."""

    class Handler(BaseHTTPRequestHandler):
        def _answer(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            status, body = answer(self.command, self.path.partition("?")[0])
            content = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_DELETE = _answer  # noqa: N815

        def log_message(self, *_: Any) -> None:
            """Nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def program(world: World, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The file as a module, under the world's clock."""
    spec = importlib.util.spec_from_file_location("tiny_run", CHART / "files/test/tiny_run.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "EVERY", 0.001)
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: world.now))
    return module


def ended(
    program: ModuleType, answer: Callable[[str, str], Answer], folder: Path,
    monkeypatch: pytest.MonkeyPatch, verifier: str = "",
) -> int:  # fmt: skip
    """Its exit code on a server that answers so."""
    run, kubeconfig = folder / "run.yaml", folder / "kubeconfig"
    run.write_text(json.dumps({"metadata": PLACE}))
    with served(answer) as address:
        named = {"name": "it", "cluster": {"server": address}}
        context = {"name": "it", "context": {"cluster": "it", "user": "it"}}
        told = {
            **{"apiVersion": "v1", "kind": "Config", "current-context": "it"},
            **{"clusters": [named], "contexts": [context], "users": [{"name": "it", "user": {}}]},
        }
        kubeconfig.write_text(json.dumps(told))
        monkeypatch.setenv("KUBECONFIG", str(kubeconfig))
        return int(asyncio.run(program.main(run, PATIENCE, verifier)))


def test_an_api_server_that_is_away_or_busy_for_a_while_is_asked_again(
    world: World, program: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    """Whatever it is asked; and an answer that is lost does not make a second run of the first."""
    troubles: dict[tuple[str, str], list[int]] = {}

    def answer(method: str, path: str) -> Answer:
        left = troubles.setdefault((method, path), [403, 429, 500, 503])
        if not left:
            return world.answer(method, path)
        if len(left) == 1 and method == "POST":
            world.answer(method, path)
        status = left.pop(0)
        return status, {"message": f"not now, {status}"}

    assert ended(program, answer, tmp_path, monkeypatch) == 0
    said = capfd.readouterr().out.splitlines()
    assert not world.objects
    assert said[-1] == "the run is complete: the operator works, and so does the trainer's image"
    for status in (403, 429, 500, 503):
        assert f"the API server: not now, {status}; it is asked again" in said


@pytest.mark.parametrize(
    ("status", "asked", "why"),
    [
        (422, 1, "what it will never have is no matter of patience"),
        (403, 7, "a Role that is not known within a minute is not there"),
        (503, 91, "after the time that the test may take"),
    ],
)
def test_patience_with_an_api_server_ends(
    status: int, asked: int, why: str, world: World, program: ModuleType, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    questions: list[str] = []

    def answer(method: str, path: str) -> Answer:
        questions.append(method)
        if len(questions) > 1:
            world.now += 10
        return status, {"message": "no"}

    assert ended(program, answer, tmp_path, monkeypatch) == 1
    assert questions == ["GET"] * asked, why
    assert "the API server: no. Look at it: kubectl describe" in capfd.readouterr().out


@pytest.mark.parametrize(("ready_after", "code"), [(3, 0), (10_000, 1)])
def test_the_verifier_is_asked_until_it_is_ready(
    ready_after: int, code: int, world: World, program: ModuleType, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    asked: list[str] = []

    def answer(_: str, path: str) -> Answer:
        asked.append(path)
        world.now += 10
        return (200, "ok") if len(asked) > ready_after else (503, "it starts")

    with served(answer) as verifier:
        assert ended(program, world.answer, tmp_path, monkeypatch, verifier) == code
    said = capfd.readouterr().out
    assert set(asked) == {"/readyz"}
    assert (f"the verifier at {verifier} is ready" in said) is (code == 0)
    assert (f'the verifier at {verifier} is not ready: "it starts". Look' in said) is (code == 1)


def test_a_verifier_that_does_not_answer_is_not_ready(
    world: World, program: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    with served(world.answer) as gone:
        pass
    trouble = program._trouble

    def late(url: str) -> str:
        world.now += PATIENCE
        return str(trouble(url))

    monkeypatch.setattr(program, "_trouble", late)
    assert ended(program, world.answer, tmp_path, monkeypatch, gone) == 1
    assert "Connection refused" in capfd.readouterr().out


@pytest.mark.parametrize(
    ("stays", "kind"),
    [("acereasonruns", "AceReasonRun"), ("persistentvolumeclaims", "PersistentVolumeClaim")],
)
def test_what_does_not_go_in_time_is_no_success(
    stays: str, kind: str, world: World, program: ModuleType, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    world.stays = stays
    assert ended(program, world.answer, tmp_path, monkeypatch) == 1
    said = capfd.readouterr().out
    assert f"the run is complete, but its {kind} does not go. Look at it: kubectl" in said
    assert "the operator works" not in said
