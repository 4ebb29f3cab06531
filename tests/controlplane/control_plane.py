"""A real API server with etcd and the controller manager, as processes on free local ports.

Jobs get pods, pods get garbage-collected, RBAC is enforced; there is no scheduler and no node, so a
pod stays Pending until a test binds it and plays its kubelet by patching its status. All that a
control plane writes lies in one folder, and each of its processes carries that folder in its
environment (`marked_processes`).

etcd makes itself a key pair for its peers, of which it has none; the API server signs the tokens of
service accounts with it. So no program for making keys is needed.
"""

import base64
import json
import os
import secrets
import signal
import ssl
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal

from acereason_trainer.launch.free_port import free_port

from tests.controlplane import marked_processes

Program = Literal["etcd", "kube-apiserver", "kube-controller-manager"]
ORDER: tuple[Program, ...] = ("etcd", "kube-apiserver", "kube-controller-manager")

_MANAGER = "system:kube-controller-manager"
CRD = Path(__file__).parents[2] / "charts/acereason-operator/files/crds/acereasonruns.yaml"
PATIENCE = 120.0
"""Seconds that anything may take to become ready; 5 is usual, a busy machine takes longer."""


class NotReady(Exception):
    """Something of the control plane did not become ready; the text ends with its log."""


@dataclass(frozen=True)
class Account:
    """Somebody who may talk to the API server."""

    token: str
    kubeconfig: Path


@dataclass(frozen=True)
class ControlPlane:
    """A control plane: where it is, who may talk to it, and what can be done to its processes."""

    folder: Path
    """Everything that it writes."""
    programs: Mapping[str, Path]
    ports: Mapping[str, int]
    token: str
    """Of an administrator (group system:masters)."""
    flags: Mapping[str, Sequence[str]]
    """Further flags, by program."""
    address: str
    """Where the API server listens; pods on real nodes could not reach 127.0.0.1."""
    users: Mapping[str, str]
    """Group of each user who has a token, or "", by name; `token` is the administrator's."""

    @property
    def url(self) -> str:
        """Address of the API server."""
        return f"https://{self.address}:{self.ports['kube-apiserver']}"

    @property
    def ca_file(self) -> Path:
        """What clients verify the API server with."""
        return self.folder / "certificates" / "apiserver.crt"

    @property
    def kubeconfig(self) -> Path:
        """The administrator's."""
        return self.folder / "admin.kubeconfig"

    def kubectl(self, *arguments: str, kubeconfig: Path | None = None, stdin: str = "") -> str:
        """What kubectl prints; raises CalledProcessError, with its stderr, where it fails."""
        command = [self.programs["kubectl"], "--kubeconfig", kubeconfig or self.kubeconfig]
        environment = os.environ | {"KUBECACHEDIR": str(self.folder / "kubectl")}
        try:
            return subprocess.run(
                [*command, *arguments],
                env=environment, input=stdin, capture_output=True, text=True, check=True,
            ).stdout  # fmt: skip
        except subprocess.CalledProcessError as error:
            error.add_note(error.stderr)  # or a test that fails shows the command alone
            raise

    def request(
        self, method: str, path: str, body: Any = None, token: str = "", timeout: float = PATIENCE
    ) -> Any:
        """JSON answer of the API server, as the administrator unless a token is given.

        Raises urllib.error.HTTPError for a refusal, another OSError where none comes within
        `timeout` seconds.
        """
        request = urllib.request.Request(
            f"{self.url}{path}",
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={
                "Authorization": f"Bearer {token or self.token}",
                "Content-Type": "application/json",
            },
        )
        tls = ssl.create_default_context(cafile=str(self.ca_file))
        with urllib.request.urlopen(request, context=tls, timeout=timeout) as answer:
            return json.load(answer)

    def new_namespace(self, prefix: str = "test") -> str:
        """Name of a fresh namespace in which pods can be made."""
        meta = {"generateName": f"{prefix}-"}
        made = self.request("POST", "/api/v1/namespaces", {"metadata": meta})
        name = str(made["metadata"]["name"])
        self._wait(
            f"namespace {name} has its default service account",
            lambda: self._exists(f"/api/v1/namespaces/{name}/serviceaccounts/default"),
            "kube-controller-manager",
        )
        return name

    def service_account(self, namespace: str, name: str) -> Account:
        """A service account, made where it does not exist, with a token for a day."""
        accounts = f"/api/v1/namespaces/{namespace}/serviceaccounts"
        if not self._exists(f"{accounts}/{name}"):
            self.request("POST", accounts, {"metadata": {"name": name}})
        asked = {"spec": {"expirationSeconds": 24 * 3600}}
        token = self.request("POST", f"{accounts}/{name}/token", asked)["status"]["token"]
        kubeconfig = self.folder / f"{namespace}-{name}.kubeconfig"
        self._write_kubeconfig(kubeconfig, token, namespace)
        return Account(token, kubeconfig)

    def kubeconfig_of(self, user: str) -> Path:
        """Of one of `users`; written when the API server has started."""
        return self.folder / f"{user.replace(':', '-')}.kubeconfig"

    def install_crd(self) -> None:
        """Apply the CRD of AceReasonRun, and return when runs can be made."""
        self.kubectl("apply", "--server-side", "-f", str(CRD))
        for what, path in (
            ("runs can be made", "/apis/acereason.dev/v1alpha1/acereasonruns"),
            ("runs can be explained", "/openapi/v3/apis/acereason.dev/v1alpha1"),
        ):
            self._wait(what, partial(self._exists, path), "kube-apiserver")

    def start(self, program: Program) -> None:
        """Start a program that does not run, and return when it is ready."""
        marked_processes.start(
            self._mark(program),
            [self.programs[program], *self._arguments(program), *self.flags.get(program, ())],
            log=self.log(program),
            environ=os.environ,
        )
        what, ready = self._readiness(program)
        self._wait(what, ready, program)

    def stop(self, program: Program) -> None:
        """End a program at once, as a power cut does."""
        marked_processes.kill(self._mark(program))

    def pause(self, program: Program) -> None:
        """Let a program stand still: its connections stay open and answer nothing."""
        self._send(program, signal.SIGSTOP)

    def go_on(self, program: Program) -> None:
        """Let a paused program go on."""
        self._send(program, signal.SIGCONT)

    def log(self, program: Program) -> Path:
        """What a program has written."""
        return self.folder / f"{program}.log"

    def start_all(self) -> None:
        """Start everything, and return when Jobs would get pods."""
        tokens = self.folder / "tokens.csv"
        tokens.touch(mode=0o600)
        tokens.write_text(
            f'{self.token},admin,admin,"system:masters"\n'
            + "".join(
                f"{self._token_of(user)},{user},{user}" + (f',"{group}"\n' if group else "\n")
                for user, group in self.users.items()
            ),
            encoding="utf-8",
        )
        for program in ORDER:
            self.start(program)
            if program == "kube-apiserver":
                self._write_kubeconfig(self.kubeconfig, self.token, "default")
                for user in self.users:
                    self._write_kubeconfig(
                        self.kubeconfig_of(user), self._token_of(user), "default"
                    )

    def _mark(self, program: Program) -> str:
        return f"{self.folder}/{program}"

    def _send(self, program: Program, what: signal.Signals) -> None:
        for number in marked_processes.alive(self._mark(program)):
            marked_processes.send(number, self._mark(program), what)

    def _token_of(self, user: str) -> str:
        return sha256(f"{self.token} {user}".encode()).hexdigest()

    @property
    def _token_key(self) -> Path:
        return self.folder / "etcd" / "fixtures" / "peer" / "key.pem"

    def _arguments(self, program: Program) -> list[str]:
        etcd = f"http://127.0.0.1:{self.ports['etcd']}"
        peers = f"https://127.0.0.1:{self.ports['etcd-peers']}"
        match program:
            case "etcd":
                return [
                    f"--data-dir={self.folder / 'etcd'}",
                    "--unsafe-no-fsync",  # a test's data need not survive the machine
                    f"--listen-client-urls={etcd}",
                    f"--advertise-client-urls={etcd}",
                    f"--listen-peer-urls={peers}",
                    f"--initial-advertise-peer-urls={peers}",
                    f"--initial-cluster=default={peers}",
                    "--peer-auto-tls",
                    "--log-level=warn",
                ]
            case "kube-apiserver":
                return [
                    f"--etcd-servers={etcd}",
                    f"--bind-address={self.address}",
                    f"--secure-port={self.ports['kube-apiserver']}",
                    f"--cert-dir={self.folder / 'certificates'}",
                    "--endpoint-reconciler-type=none",  # without nodes, no pod asks for it
                    "--authorization-mode=RBAC",
                    f"--token-auth-file={self.folder / 'tokens.csv'}",
                    "--service-account-issuer=https://kubernetes.default.svc",
                    f"--service-account-key-file={self._token_key}",
                    f"--service-account-signing-key-file={self._token_key}",
                    "--service-cluster-ip-range=10.96.0.0/16",
                    "--allow-privileged=true",
                ]
            case "kube-controller-manager":
                kubeconfig = self.kubeconfig_of(_MANAGER)
                return [
                    f"--kubeconfig={kubeconfig}",
                    f"--authentication-kubeconfig={kubeconfig}",
                    f"--authorization-kubeconfig={kubeconfig}",
                    "--bind-address=127.0.0.1",
                    f"--secure-port={self.ports['kube-controller-manager']}",
                    f"--cert-dir={self.folder / 'certificates'}",
                    f"--root-ca-file={self.ca_file}",
                    f"--service-account-private-key-file={self._token_key}",
                    "--use-service-account-credentials=true",
                    "--leader-elect=false",  # there is one
                    # Many tests share it: its own rate limit (20 a second) would be what they wait
                    # for.
                    "--kube-api-qps=300",
                    "--kube-api-burst=600",
                ]

    def _readiness(self, program: Program) -> tuple[str, Callable[[], bool]]:
        match program:
            case "etcd":
                address = f"http://127.0.0.1:{self.ports['etcd']}/readyz"
                return "etcd answers", lambda: answers(address)
            case "kube-apiserver":
                return (
                    "the API server is ready",
                    lambda: self.ca_file.exists() and answers(f"{self.url}/readyz", self.ca_file),
                )
            case "kube-controller-manager":
                account = "/api/v1/namespaces/default/serviceaccounts/default"
                return "controllers work", lambda: self._exists(account)

    def _exists(self, path: str) -> bool:
        try:
            self.request("GET", path)
        except urllib.error.HTTPError as error:
            if error.code in (404, 429):  # 429: its cache is still being filled
                return False
            raise
        return True

    def _wait(self, what: str, holds: Callable[[], bool], program: Program) -> None:
        """Return when a condition holds; NotReady after PATIENCE, or when `program` is gone."""
        end = time.monotonic() + PATIENCE
        while not holds():
            gone = not marked_processes.alive(self._mark(program))
            if gone or time.monotonic() > end:
                why = f"{program} has ended" if gone else f"not within {PATIENCE:g} s"
                tail = self.log(program).read_text(errors="replace")[-3000:]
                raise NotReady(f"{what}: {why}. The end of {self.log(program)}:\n{tail}")
            time.sleep(0.05)

    def _write_kubeconfig(self, file: Path, token: str, namespace: str) -> None:
        authority = base64.b64encode(self.ca_file.read_bytes()).decode()
        text = json.dumps(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "current-context": "test",
                "contexts": [
                    {
                        "name": "test",
                        "context": {"cluster": "test", "user": "test", "namespace": namespace},
                    }
                ],
                "clusters": [
                    {
                        "name": "test",
                        "cluster": {
                            "server": self.url,
                            "certificate-authority-data": authority,
                        },
                    }
                ],
                "users": [{"name": "test", "user": {"token": token}}],
            },
            indent=2,
        )
        file.touch(mode=0o600)
        file.write_text(text, encoding="utf-8")


def prepared(
    folder: Path,
    programs: Mapping[str, Path],
    flags: Mapping[str, Sequence[str]],
    address: str = "127.0.0.1",
    users: Mapping[str, str] | None = None,
) -> ControlPlane:
    """A control plane in an empty folder, not started yet."""
    ports = {name: free_port() for name in (*ORDER, "etcd-peers")}
    everybody = {_MANAGER: "", **(users or {})}
    return ControlPlane(folder, programs, ports, secrets.token_hex(16), flags, address, everybody)


def answers(address: str, ca_file: Path | None = None) -> bool:
    """Whether a server answers a GET of an address with a success."""
    tls = ssl.create_default_context(cafile=str(ca_file)) if ca_file else None
    try:
        with urllib.request.urlopen(address, context=tls, timeout=5):
            return True
    except OSError:  # not listening yet, or not ready yet
        return False
