"""The cluster and the credentials are found where kubectl and pods find them, and what is wrong is said."""

from __future__ import annotations

import os
import socket
import stat
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from ingress.kube import KubeClient, KubeConfigError, access, identity
from ingress.kube.access import find_access
from ingress.options import Options


@pytest.fixture(autouse=True)
def outside_of_pods(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("KUBERNETES_SERVICE_HOST", "KUBERNETES_SERVICE_PORT", "KUBECONFIG", "POD_NAME", "POD_NAMESPACE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(access, "SERVICE_ACCOUNT", tmp_path / "serviceaccount")


def kubeconfig(path: Path, *, server: str = "http://127.0.0.1:1", name: str = "one", **user: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    data = {
        "clusters": [{"name": name, "cluster": {"server": server}}],
        "users": [{"name": name, "user": user}],
        "contexts": [{"name": name, "context": {"cluster": name, "user": name, "namespace": f"space-{name}"}}],
        "current-context": name,
    }
    path.write_text(yaml.safe_dump(data))
    return path


def service_account(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder.mkdir()
    (folder / "token").write_text("first\n")
    (folder / "ca.crt").write_text("a certificate")
    (folder / "namespace").write_text("ingress-system")
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "fd00::1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "443")
    return folder


async def test_the_service_account_of_a_pod_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No flag is needed in a pod, and an IPv6 address is no obstacle."""
    service_account(tmp_path / "serviceaccount", monkeypatch)
    found = await find_access()
    assert found.configuration.host == "https://[fd00::1]:443"
    assert await found.authorization() == "Bearer first"
    assert found.namespace == "ingress-system"


async def test_a_rotated_token_is_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Within a minute; a file that is missing meanwhile leaves the token as it is."""
    folder = service_account(tmp_path / "serviceaccount", monkeypatch)
    monkeypatch.setattr("kubernetes_asyncio.config.incluster_config.TOKEN_REFRESH_PERIOD", -timedelta(seconds=1))
    found = await find_access()
    (folder / "token").write_text("second")
    assert await found.authorization() == "Bearer second"
    (folder / "token").unlink()
    assert await found.authorization() == "Bearer second"


async def test_a_kubeconfig_that_is_given_wins_over_the_pod(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A flag is a wish."""
    service_account(tmp_path / "serviceaccount", monkeypatch)
    path = kubeconfig(tmp_path / "given", server="http://10.0.0.1:8080", token="secret")
    found = await find_access(kubeconfig=str(path))
    assert (found.configuration.host, await found.authorization()) == ("http://10.0.0.1:8080", "Bearer secret")
    assert found.namespace == "space-one"


async def test_what_kubectl_uses_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """``~/.kube/config``, and several files in ``KUBECONFIG`` before it; ``--context`` chooses among all."""
    kubeconfig(tmp_path / ".kube/config", server="http://10.0.0.1")
    assert (await find_access()).configuration.host == "http://10.0.0.1"
    first = kubeconfig(tmp_path / "first", server="http://10.0.0.2")
    second = kubeconfig(tmp_path / "second", server="http://10.0.0.3", name="two")
    monkeypatch.setenv("KUBECONFIG", os.pathsep.join([str(first), str(tmp_path / "none"), str(second)]))
    assert (await find_access(context="one")).configuration.host == "http://10.0.0.2"
    assert (await find_access(context="two")).configuration.host == "http://10.0.0.3"


async def test_a_plugin_gives_the_token(tmp_path: Path) -> None:
    """As cloud providers do it."""
    plugin = tmp_path / "plugin"
    plugin.write_text(
        '#!/bin/sh\necho \'{"apiVersion":"client.authentication.k8s.io/v1","kind":"ExecCredential",'
        '"status":{"token":"from-plugin"}}\'\n'
    )
    plugin.chmod(plugin.stat().st_mode | stat.S_IXUSR)
    command = {"apiVersion": "client.authentication.k8s.io/v1", "command": str(plugin)}
    found = await find_access(kubeconfig=str(kubeconfig(tmp_path / "config", exec=command)))
    assert await found.authorization() == "Bearer from-plugin"


async def test_a_token_file_of_a_kubeconfig_is_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is rotated as those of pods are."""
    monkeypatch.setattr(access, "REFRESH", -1.0)
    token = tmp_path / "token"
    token.write_text("first")
    found = await find_access(kubeconfig=str(kubeconfig(tmp_path / "config", tokenFile=str(token))))
    assert await found.authorization() == "Bearer first"
    token.write_text("second")
    assert await found.authorization() == "Bearer second"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "kubeconfig"),
        ("{", "kubeconfig"),
        ("[]", "kubeconfig"),
        ("clusters: []\ncontexts: []\nusers: []\ncurrent-context: gone\n", "gone"),
        ("clusters: [{name: a}]\ncontexts: [{name: a, context: {cluster: a}}]\nusers: []\ncurrent-context: a\n", "a"),
    ],
)
async def test_a_kubeconfig_that_cannot_be_used_is_named(tmp_path: Path, text: str, said: str) -> None:
    """Never a traceback of a library."""
    path = tmp_path / "config"
    path.write_text(text)
    with pytest.raises(KubeConfigError) as caught:
        await find_access(kubeconfig=str(path))
    assert str(path) in str(caught.value)
    assert said in str(caught.value)


async def test_without_any_cluster_the_flags_are_named(tmp_path: Path) -> None:
    """Who starts it on a laptop learns what to do."""
    with pytest.raises(KubeConfigError, match="--kubeconfig FILE, or --manifests FOLDER"):
        await find_access()
    with pytest.raises(KubeConfigError, match="there is no file"):
        await find_access(kubeconfig=str(tmp_path / "none"))


async def test_certificates_that_cannot_be_loaded_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file of the pod's authority is no certificate here."""
    service_account(tmp_path / "serviceaccount", monkeypatch)
    with pytest.raises(KubeConfigError, match="certificates cannot be loaded"):
        await KubeClient.connect(Options())


async def test_the_own_namespace_and_name_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The downward API first, then what the credentials belong to, then what every cluster has."""
    client = await KubeClient.connect(Options(kubeconfig=str(kubeconfig(tmp_path / "config"))))
    assert (client.own_namespace(), identity()) == ("space-one", socket.gethostname())
    monkeypatch.setenv("POD_NAMESPACE", "ns")
    monkeypatch.setenv("POD_NAME", "pod-1")
    assert (client.own_namespace(), identity()) == ("ns", "pod-1")
    await client.close()
