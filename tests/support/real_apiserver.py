"""The real ``kube-apiserver`` with its ``etcd``, from the folder that ``KUBEBUILDER_ASSETS`` names (as envtest has it).

No controllers run: a namespace is never emptied, a Service never gets endpoints, a Node never becomes ready by itself.
"""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from collections.abc import Sequence
from pathlib import Path

import aiohttp
import trustme
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

__all__ = ["RealApiServer", "assets", "free_port"]

PATIENCE = 60.0
"""Seconds until both serve."""


def assets() -> Path | None:
    """The folder with the binaries, or ``None``."""
    named = os.environ.get("KUBEBUILDER_ASSETS")
    return Path(named) if named else None


class RealApiServer:
    """Both processes, on free ports of loopback, with everything they write in one folder."""

    def __init__(self, binaries: Path, folder: Path, tokens: Sequence[tuple[str, str, str]]) -> None:
        """``tokens``: token, user and group (or nothing) of each user."""
        self._binaries = binaries
        self._folder = folder
        self._processes: dict[str, asyncio.subprocess.Process] = {}
        self._etcd = free_port()
        self.port = free_port()
        self.authority = folder / "ca.pem"
        self._write_files(tokens)

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.port}"

    def context(self) -> ssl.SSLContext:
        """Trusts the server."""
        return ssl.create_default_context(cafile=str(self.authority))

    def _write_files(self, tokens: Sequence[tuple[str, str, str]]) -> None:
        authority = trustme.CA()
        authority.cert_pem.write_to_path(str(self.authority))
        serving = authority.issue_cert("127.0.0.1", "localhost")
        serving.private_key_pem.write_to_path(str(self._folder / "serving.key"))
        for blob in serving.cert_chain_pems:
            blob.write_to_path(str(self._folder / "serving.crt"), append=True)
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        (self._folder / "accounts.key").write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        lines = [f'{token},{user},{user},"{group}"' for token, user, group in tokens]
        (self._folder / "tokens.csv").write_text("\n".join(lines) + "\n")

    async def start(self) -> None:
        """Start whichever of the two does not run; returns when the API is ready."""
        if "etcd" not in self._processes:
            await self._run(
                "etcd",
                f"--data-dir={self._folder / 'etcd'}",
                f"--listen-client-urls=http://127.0.0.1:{self._etcd}",
                f"--advertise-client-urls=http://127.0.0.1:{self._etcd}",
                f"--listen-peer-urls=http://127.0.0.1:{free_port()}",
                "--unsafe-no-fsync",
            )
        await self._run(
            "kube-apiserver",
            f"--etcd-servers=http://127.0.0.1:{self._etcd}",
            "--bind-address=127.0.0.1",
            f"--secure-port={self.port}",
            f"--cert-dir={self._folder}",
            f"--tls-cert-file={self._folder / 'serving.crt'}",
            f"--tls-private-key-file={self._folder / 'serving.key'}",
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--service-account-key-file={self._folder / 'accounts.key'}",
            f"--service-account-signing-key-file={self._folder / 'accounts.key'}",
            "--service-cluster-ip-range=10.96.0.0/16",
            "--authorization-mode=RBAC",
            f"--token-auth-file={self._folder / 'tokens.csv'}",
            "--disable-admission-plugins=ServiceAccount",
            "--allow-privileged",
        )
        async with asyncio.timeout(PATIENCE), aiohttp.ClientSession() as session:
            while not await self._is_ready(session):
                self._must_run()
                await asyncio.sleep(0.1)

    async def stop(self) -> None:
        """Kill the API server; etcd keeps what it knew."""
        await self._kill("kube-apiserver")

    async def close(self) -> None:
        await self._kill("kube-apiserver")
        await self._kill("etcd")

    async def _run(self, name: str, *flags: str) -> None:
        with (self._folder / f"{name}.log").open("ab") as log:
            self._processes[name] = await asyncio.create_subprocess_exec(
                str(self._binaries / name), *flags, stdin=asyncio.subprocess.DEVNULL, stdout=log, stderr=log
            )

    async def _kill(self, name: str) -> None:
        process = self._processes.pop(name, None)
        if process is not None:
            if process.returncode is None:
                process.kill()
            await process.wait()

    async def _is_ready(self, session: aiohttp.ClientSession) -> bool:
        try:
            async with session.get(f"{self.url}/readyz", ssl=self.context()) as response:
                return response.status in (200, 401, 403)
        except aiohttp.ClientError:
            return False

    def _must_run(self) -> None:
        for name, process in self._processes.items():
            assert process.returncode is None, f"{name} ended: " + (self._folder / f"{name}.log").read_text()[-2000:]


def free_port() -> int:
    """A port of loopback that nobody listens on now."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port
