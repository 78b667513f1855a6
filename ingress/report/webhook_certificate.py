"""Keeps the admission webhook's certificate: in a Secret, in every replica, and trusted by the API server.

1. Every replica reads the Secret each minute and serves what it holds; open connections go on.
2. The leader makes a new generation where there is none that can serve, and when two thirds of the life are over. It
   first lets the API server trust it, beside the one before, and writes the Secret then: at no moment is a certificate
   served that the API server does not know. A write that loses against another is dropped, and the winner's read.
3. The leader keeps ``caBundle`` of each webhook of the configuration equal to ``ca.crt``, whoever changes it.
4. A Secret without our label is someone else's (cert-manager): it is served, and neither it nor the configuration is
   written.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import datetime
import ssl
from collections.abc import Callable
from typing import Any, Final

import msgspec
import structlog

from ingress.kube import KubeClient, KubeError
from ingress.report.webhook_keys import WebhookKeys, make_keys, server_context, service_names

__all__ = ["LABEL", "MANAGED", "WebhookCertificate"]

LABEL: Final = "pyngress.io/webhook-certificate"
MANAGED: Final = "managed"
"""The label's value on a Secret that is ours to write."""
CHECK_INTERVAL: Final = 60.0
"""Seconds."""
FIRST_INTERVAL: Final = 2.0
"""Seconds between looks as long as there is nothing to serve."""
SPREAD: Final = 2.0
"""Seconds between trusting a new authority and serving its certificate: API servers hear of a configuration by a watch,
and reviews that are on their way began with what they knew."""
ATTEMPTS: Final = 3
"""At a write that loses against another."""

JSON_PATCH: Final = "application/json-patch+json"
"""RFC 6902."""
_CONFLICT: Final = 409
_UNPROCESSABLE: Final = 422
"""What a JSON patch gets whose ``test`` fails."""

log = structlog.get_logger("pyngress.webhook")


class WebhookCertificate:
    """``name`` is that of the ValidatingWebhookConfiguration; the Secret is ``name-webhook`` in ``namespace``."""

    def __init__(
        self,
        client: KubeClient,
        *,
        name: str,
        namespace: str,
        is_leader: Callable[[], bool],
        now: Callable[[], datetime.datetime] = lambda: datetime.datetime.now(datetime.UTC),
        spread: float = SPREAD,
    ) -> None:
        self._client = client
        self._names = service_names(name, namespace)
        self._is_leader = is_leader
        self._now = now
        self._spread = spread
        self._secret_name, self._namespace = f"{name}-webhook", namespace
        self._secrets = f"/api/v1/namespaces/{namespace}/secrets"
        self._secret = f"{self._secrets}/{self._secret_name}"
        self._configuration_name = name
        self._configuration = f"/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations/{name}"
        self._woken = asyncio.Event()
        self._said: dict[str, str] = {}
        self._serving: ssl.SSLContext | None = None
        self.keys: WebhookKeys | None = None
        """What is served."""
        self.context = server_context(None)
        """For the listener: always the same one, whatever is served."""
        self.context.sni_callback = self._on_server_name

    async def run(self) -> None:
        """For ever."""
        while True:
            await self.check()
            try:
                async with asyncio.timeout(CHECK_INTERVAL if self.keys else FIRST_INTERVAL):
                    await self._woken.wait()
            except TimeoutError:
                pass
            self._woken.clear()

    def wake(self) -> None:
        """Look now: this replica became the leader, or something is known to have changed."""
        self._woken.set()

    async def check(self) -> None:
        """Look once, and do what is to be done. Faults of the API server are logged, once each."""
        try:
            for _ in range(ATTEMPTS):
                if await self._is_settled():
                    break
        except KubeError as error:
            what = f"secrets {self._secret_name!r} in namespace {self._namespace}"
            self._say("secret", _why(error, what, "get, create and update"))
        else:
            self._say("secret", "")

    async def _is_settled(self) -> bool:
        """False: another was faster, look again. Raises :class:`KubeError`."""
        secret = await self._read_secret()
        if secret is not None and secret.get("metadata", {}).get("labels", {}).get(LABEL) != MANAGED:
            self._say("owner", f"Secret {self._secret_name} has no label {LABEL}={MANAGED}: it is only read", info=True)
            self._serve(_keys_of(secret))
            return True
        self._say("owner", "")
        keys = WebhookKeys(authorities="", chain="", key="") if secret is None else _keys_of(secret)
        fault = keys.fault(self._names, self._now()) if keys.is_complete else "there is none yet"
        if not self._is_leader():
            if not fault:
                self._serve(keys)
            return True
        if fault or keys.is_due(self._now()):
            log.info("a new certificate for the admission webhook", reason=fault or "two thirds of its life are over")
            keys = make_keys(self._names, now=self._now(), before=keys)
            await self._trust(keys)
            if self.keys is not None:
                await asyncio.sleep(self._spread)
            if not await self._write_secret(secret, keys):
                return False
        self._serve(keys)
        await self._trust(keys)
        return True

    def _serve(self, keys: WebhookKeys) -> None:
        if self.keys == keys:
            return
        try:
            self._serving = server_context(keys)
        except (ssl.SSLError, OSError, ValueError) as error:
            self._say("load", f"Secret {self._secret_name} cannot be served: {type(error).__name__}")
            return
        self._say("load", "")
        self.keys = keys
        log.info("certificate of the admission webhook loaded", not_after=keys.not_after.isoformat())

    def _on_server_name(
        self, connection: ssl.SSLObject | ssl.SSLSocket, _server_name: str | None, _listener: ssl.SSLContext
    ) -> int | None:
        """In each handshake, also in one without a server name."""
        if self._serving is None:
            return ssl.ALERT_DESCRIPTION_INTERNAL_ERROR
        connection.context = self._serving
        return None

    # ---- the Secret

    async def _read_secret(self) -> dict[str, Any] | None:
        try:
            secret: dict[str, Any] = msgspec.json.decode(await self._client.get(self._secret))
        except KubeError as error:
            if error.status == 404:
                return None
            raise
        return secret

    async def _write_secret(self, secret: dict[str, Any] | None, keys: WebhookKeys) -> bool:
        """Whether it was written, on top of ``secret`` and of nothing else."""
        texts = {"ca.crt": keys.authorities, "tls.crt": keys.chain, "tls.key": keys.key}
        data = {name: base64.b64encode(text.encode()).decode() for name, text in texts.items()}
        try:
            if secret is None:
                metadata = {"name": self._secret_name, "namespace": self._namespace, "labels": {LABEL: MANAGED}}
                body = {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "type": "kubernetes.io/tls"}
                await self._client.post(self._secrets, {**body, "data": data})
            else:
                await self._client.put(self._secret, {**secret, "data": {**(secret.get("data") or {}), **data}})
        except KubeError as error:
            if error.status == _CONFLICT:
                return False
            raise
        return True

    # ---- the trust of the API server

    async def _trust(self, keys: WebhookKeys) -> None:
        """Never fails: without its trust there are no reviews, and nothing else is worse for it."""
        try:
            for _ in range(ATTEMPTS):
                if await self._is_trusted(keys):
                    break
        except KubeError as error:
            what = f"validatingwebhookconfigurations {self._configuration_name!r}"
            self._say("trust", _why(error, what, "get and patch"))
        else:
            self._say("trust", "")

    async def _is_trusted(self, keys: WebhookKeys) -> bool:
        """False: the configuration changed meanwhile. Raises :class:`KubeError`."""
        configuration = msgspec.json.decode(await self._client.get(self._configuration))
        bundle = base64.b64encode(keys.authorities.encode()).decode()
        operations: list[dict[str, Any]] = []
        for index, webhook in enumerate(configuration.get("webhooks") or ()):
            if webhook.get("clientConfig", {}).get("caBundle") != bundle:
                at = f"/webhooks/{index}"
                operations.append({"op": "test", "path": f"{at}/name", "value": webhook["name"]})
                operations.append({"op": "add", "path": f"{at}/clientConfig/caBundle", "value": bundle})
        if not operations:
            return True
        try:
            await self._client.patch(self._configuration, operations, JSON_PATCH)
        except KubeError as error:
            if error.status in (_CONFLICT, _UNPROCESSABLE):
                return False
            raise
        log.info("caBundle of the admission webhook set", configuration=self._configuration_name)
        return True

    # ---- the log

    def _say(self, topic: str, text: str, *, info: bool = False) -> None:
        """Once, until it changes. An empty text: all is well."""
        before = self._said.get(topic, "")
        if text == before:
            return
        self._said[topic] = text
        if text:
            (log.info if info else log.warning)(f"certificate of the admission webhook: {text}")
        elif topic != "owner":
            log.info(f"certificate of the admission webhook: {topic} is well again")


def _why(error: KubeError, what: str, verbs: str) -> str:
    if error.status == 403:
        return f"not allowed: the controller needs the rights to {verbs} {what}: {error}"
    if error.status == 404:
        return f"there is no {what}: the API server asks this webhook nothing"
    return f"{what}: {error}"


def _keys_of(secret: dict[str, Any]) -> WebhookKeys:
    data = secret.get("data") or {}
    return WebhookKeys(
        authorities=_text(data.get("ca.crt")), chain=_text(data.get("tls.crt")), key=_text(data.get("tls.key"))
    )


def _text(value: Any) -> str:
    try:
        return base64.b64decode(value or "").decode()
    except (binascii.Error, ValueError, TypeError):
        return ""
