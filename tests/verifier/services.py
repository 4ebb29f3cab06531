"""Builders: a verifier service as a process of its own, and bad networks before it."""

import asyncio
import http.server
import importlib.metadata
import json
import re
import signal
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from acereason_trainer.rewards.problem_tests import PackedTests, Test, pack
from acereason_trainer.rewards.wire import ANSWERS_TYPE, SERVICE

from tests.waiting import is_alive, wait_for

MIB = 1 << 20


class ServiceProcess:
    """`acereason-verifier` on a port of its own; it can die and come back there."""

    def __init__(self, **settings: object) -> None:
        self._settings = {"code-workers": 1, "math-workers": 1} | {
            name.replace("_", "-"): value for name, value in settings.items()
        }
        self.port = 0
        self._process: subprocess.Popen[str] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start, or start again on the same port, and wait until it is ready."""
        flags = [f"--{name}={value}" for name, value in self._settings.items()]
        self._process = subprocess.Popen(
            [sys.executable, "-m", "acereason_trainer.verifier", f"--port={self.port}", *flags],
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self._process.stderr is not None
        said = ""
        for line in self._process.stderr:
            said += line
            if found := re.search(r"ready on http://127\.0\.0\.1:(\d+)", line):
                self.port = int(found[1])
                return
        raise AssertionError(f"the service did not start:\n{said}")

    def send(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def exit_code(self) -> int:
        """Wait for its end."""
        assert self._process is not None
        code = self._process.wait(60)
        assert self._process.stderr is not None
        self._process.stderr.close()
        return code

    def kill(self) -> None:
        if self._process is not None and self._process.poll() is None:
            workers = self.workers()
            self._process.kill()
            self._process.wait()
            wait_for(lambda: not any(map(is_alive, workers)), "the workers' end")
        if self._process is not None and self._process.stderr is not None:
            self._process.stderr.close()

    def workers(self, kind: str = "") -> list[int]:
        """Process ids of what checks answers, each forked by a process of its own; of kind code
        those that have a sandbox."""
        assert self._process is not None
        found = [pid for parent in children_of(self._process.pid) for pid in children_of(parent)]
        if kind == "code":
            return [pid for pid in found if children_of(pid)]
        return found

    def metric(self, name: str, **labels: str) -> float:
        """One series of /metrics; 0 where there is none."""
        _, page = self.get("/metrics")
        wanted = ",".join(f'{k}="{v}"' for k, v in labels.items())
        series = f"acereason_verifier_{name}" + (f"{{{wanted}}}" if labels else "")
        for line in page.decode().splitlines():
            if line.startswith(series + " "):
                return float(line.rpartition(" ")[2])
        return 0.0

    def get(self, path: str) -> tuple[int, bytes]:
        status, _, body = self.ask("GET", path)
        return status, body

    def ask(
        self, method: str, path: str, body: bytes | None = None
    ) -> tuple[int, Mapping[str, str], bytes]:
        """Status, headers and body."""
        request = urllib.request.Request(self.url + path, data=body, method=method)
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return answer.status, dict(answer.headers), answer.read()
        except urllib.error.HTTPError as e:
            return e.code, dict(e.headers), e.read()

    def grade(self, kind: str, *jobs: Mapping[str, Any], **further: Any) -> list[dict[str, Any]]:
        """Lines of the answer to one request."""
        body = json.dumps({"kind": kind, "jobs": jobs, **further}).encode()
        status, _, answer = self.ask("POST", "/v1/grade", body)
        assert status == 200, answer
        return [json.loads(line) for line in answer.splitlines() if line.strip()]

    def upload(self, *tests: Test) -> str:
        """Name of the tests."""
        packed = packed_tests(*tests)
        status, _, answer = self.ask("PUT", f"/v1/tests/{packed.digest.hex()}", packed.content)
        assert status == 204, answer
        return packed.digest.hex()


def packed_tests(*tests: Test) -> PackedTests:
    return pack(tests)


@contextmanager
def a_service(**settings: object) -> Iterator[ServiceProcess]:
    service = ServiceProcess(**settings)
    try:
        service.start()
        yield service
    finally:
        service.kill()


def children_of(pid: int) -> list[int]:
    found: list[int] = []
    with suppress(FileNotFoundError, ProcessLookupError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            with suppress(FileNotFoundError, ProcessLookupError):
                found += map(int, (task / "children").read_text().split())
    return found


class Network:
    """What a connection through a proxy suffers. Changing it counts for the next bytes."""

    delay = 0.0
    """Seconds before each piece is passed on."""
    piece = 1 << 16
    """Bytes that are passed on at once."""
    cut_after: int | None = None
    """Bytes of an answer after which its connection is cut."""
    most_cuts = 0
    """Connections that are cut so."""
    swallow = False
    """Accept and pass nothing on."""

    def __init__(self) -> None:
        self.connections = 0
        self.cuts = 0


@contextmanager
def a_network_before(service: ServiceProcess) -> Iterator[tuple[str, Network]]:
    """Address of a proxy before the service, and how it behaves."""
    network, loop = Network(), asyncio.new_event_loop()
    server = loop.run_until_complete(asyncio.start_server(_proxy(service, network), "127.0.0.1", 0))
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", network
    finally:
        asyncio.run_coroutine_threadsafe(_end(server), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


async def _end(server: asyncio.Server) -> None:
    server.close()
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)


def _proxy(service: ServiceProcess, network: Network) -> Any:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        network.connections += 1
        if network.swallow:
            await reader.read()
            return
        try:
            there, back = await asyncio.open_connection("127.0.0.1", service.port)
        except OSError:
            writer.transport.abort()
            return
        limit = network.cut_after
        forward = asyncio.ensure_future(_pass_on(reader, back, network, None))
        try:
            await _pass_on(there, writer, network, limit)
        finally:
            forward.cancel()
            writer.transport.abort()
            back.transport.abort()

    return serve


async def _pass_on(
    source: asyncio.StreamReader,
    sink: asyncio.StreamWriter,
    network: Network,
    limit: int | None,
) -> None:
    passed = 0
    with suppress(OSError):
        while data := await source.read(network.piece):
            await asyncio.sleep(network.delay)
            cut = limit is not None and network.cuts < network.most_cuts
            if limit is not None and cut and passed + len(data) > limit:
                network.cuts += 1
                sink.write(data[: limit - passed])
                await sink.drain()
                return
            passed += len(data)
            sink.write(data)
            await sink.drain()
        sink.write_eof()


Respond = Callable[[Mapping[str, Any]], Iterator[bytes]]
"""Pieces of the answer to a request for verdicts; it is cut off where CUT is among them."""
CUT = b"cut"


@contextmanager
def a_false_service(respond: Respond, content_type: str = ANSWERS_TYPE) -> Iterator[str]:
    """Address of something that accepts every request as the service does, and then does not do
    what the service does."""

    class Answers(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            about = {"service": SERVICE, "version": importlib.metadata.version("acereason")}
            body = json.dumps(about).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(200)
            self.send_header("Content-Type", content_type)
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            with suppress(ConnectionError):
                for piece in respond(asked):
                    if piece == CUT:
                        self.close_connection = True
                        return
                    self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
                self.wfile.write(b"0\r\n\r\n")

        def log_message(self, *args: object) -> None:
            """Say nothing."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answers) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()
