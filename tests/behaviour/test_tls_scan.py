"""What a scanner finds out about the TLS of the workers: sslyze, on real sockets.

The lists of what is spoken are those of docs/security.md, and the server is all of it: worker processes under their
supervisor on one port, so that what is resumed is resumed by another worker, too.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from pathlib import Path

import msgspec
import pytest
import pytest_asyncio
import trustme

from proxy.table import Certificate, ClientCertificates, Settings, Table
from tests.behaviour.test_tls_termination import AUTHORITY, OK, secured
from tests.support.backend import fixed, raw_backend
from tests.support.proxy import HOST, running_proxy
from tests.support.scan import Finding, scan, sslyze_folder
from tests.support.workers import supervised_workers

WORKERS = 3
RSA = "rsa.example.com"
"""A host whose certificate has an RSA key; that of HOST has one on P-256."""
STRANGER = "stranger.example.org"
"""No host here: it is shown the default certificate."""
VERSIONS = {
    "SSL 2.0": "ssl_2_0",
    "SSL 3.0": "ssl_3_0",
    "TLS 1.0": "tls_1_0",
    "TLS 1.1": "tls_1_1",
    "TLS 1.2": "tls_1_2",
    "TLS 1.3": "tls_1_3",
}
COMMANDS = (
    *("sslv2", "sslv3", "tlsv1", "tlsv1_1", "tlsv1_2", "tlsv1_3", "elliptic_curves", "certinfo", "resum"),
    *("reneg", "compression", "ems", "early_data", "fallback", "heartbleed", "openssl_ccs", "robot"),
)
PAGE = (Path(__file__).parents[2] / "docs" / "security.md").read_text()


def claimed(row: str) -> list[str]:
    """The names in the second column of that row of docs/security.md."""
    (line,) = re.findall(rf"^\| {re.escape(row)} \| (.*?) \|$", PAGE, re.MULTILINE)
    return re.findall(r"`([^`]+)`", line)


def rsa_pair() -> Certificate:
    leaf = AUTHORITY.issue_cert(RSA, key_type=trustme.KeyType.RSA)
    chain = "".join(blob.bytes().decode() for blob in leaf.cert_chain_pems)
    return Certificate(chain_pem=chain, key_pem=leaf.private_key_pem.bytes().decode())


def two_hosts(port: int) -> Table:
    """HOST and RSA with certificates of their own, and a default one."""
    table = secured([port])
    certificates = {**table.certificates, "rsa": rsa_pair()}
    server_names = {**table.server_names, RSA: "rsa"}
    return msgspec.structs.replace(table, certificates=certificates, server_names=server_names)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def found() -> Mapping[str, Finding]:
    """Everything at once, by server name."""
    sslyze_folder()
    async with (
        raw_backend(fixed(OK)) as backend,
        supervised_workers(two_hosts(backend.port), WORKERS, protocol="https") as workers,
    ):
        many, one = await asyncio.gather(
            scan(workers.port, (HOST, RSA), (*COMMANDS, "resum_attempts=12")),
            scan(workers.port, (STRANGER,), ("certinfo",)),
        )
    return {**many, **one}


BOTH = pytest.mark.parametrize("name", [HOST, RSA])


@BOTH
def test_the_versions_are_those_of_the_page(found: Mapping[str, Finding], name: str) -> None:
    """TLS 1.2 and 1.3; each older one is refused, whatever ciphers it is tried with."""
    spoken = [
        version
        for version, command in VERSIONS.items()
        if found[name][f"{command}_cipher_suites"]["is_tls_version_supported"]
    ]
    assert spoken == claimed("versions") == ["TLS 1.2", "TLS 1.3"]


@BOTH
def test_the_ciphers_are_those_of_the_page(found: Mapping[str, Finding], name: str) -> None:
    """Of the hundreds that a scanner tries: forward secrecy and authenticated encryption alone, by the key of each."""
    kind = "ECDSA" if name == HOST else "RSA"
    for row, command in (("ciphers of TLS 1.2", "tls_1_2"), ("ciphers of TLS 1.3", "tls_1_3")):
        suites = found[name][f"{command}_cipher_suites"]
        accepted = {suite["cipher_suite"]["openssl_name"] for suite in suites["accepted_cipher_suites"]}
        wanted = {cipher for cipher in claimed(row) if command == "tls_1_3" or f"-{kind}-" in cipher}
        assert accepted == wanted
        assert len(accepted) == 3
    assert len(found[name]["tls_1_2_cipher_suites"]["rejected_cipher_suites"]) > 100


@BOTH
def test_the_groups_are_those_of_the_page(found: Mapping[str, Finding], name: str) -> None:
    """Curves of at least 224 bits, none of those that nobody trusts; the two that every client has are among them."""
    curves = found[name]["elliptic_curves"]
    accepted = {curve["name"] for curve in curves["supported_curves"]}
    assert {"X25519", "secp256r1"} <= accepted <= set(claimed("groups"))
    assert len(curves["rejected_curves"]) > 15


@BOTH
def test_nothing_is_compressed(found: Mapping[str, Finding], name: str) -> None:
    """CRIME needs it."""
    assert found[name]["tls_compression"] == {"supports_compression": False}


@BOTH
def test_clients_cannot_renegotiate(found: Mapping[str, Finding], name: str) -> None:
    """Neither over and over, for our CPU, nor without the binding of RFC 5746."""
    assert found[name]["session_renegotiation"] == {
        "supports_secure_renegotiation": True,
        "is_vulnerable_to_client_renegotiation_dos": False,
        "client_renegotiations_success_count": 0,
    }


@BOTH
def test_no_version_is_won_by_falling_back(found: Mapping[str, Finding], name: str) -> None:
    """TLS_FALLBACK_SCSV (RFC 7507) is heeded, and keys are bound to their handshake (RFC 7627)."""
    assert found[name]["tls_fallback_scsv"] == {"supports_fallback_scsv": True}
    assert found[name]["tls_extended_master_secret"] == {"supports_ems_extension": True}


@BOTH
def test_no_data_is_taken_before_the_handshake_ends(found: Mapping[str, Finding], name: str) -> None:
    """Early data (0-RTT) could be sent again by anybody."""
    assert found[name]["tls_1_3_early_data"] == {"supports_early_data": False}


@BOTH
def test_the_classics_do_not_work(found: Mapping[str, Finding], name: str) -> None:
    """Heartbleed, CCS injection, ROBOT."""
    assert found[name]["heartbleed"] == {"is_vulnerable_to_heartbleed": False}
    assert found[name]["openssl_ccs_injection"] == {"is_vulnerable_to_ccs_injection": False}
    assert found[name]["robot"] == {"robot_result": "NOT_VULNERABLE_RSA_NOT_SUPPORTED"}


@BOTH
def test_tickets_are_taken_by_whichever_worker_gets_them(found: Mapping[str, Finding], name: str) -> None:
    """Each of many sessions of TLS 1.2 is resumed, though the kernel deals connections out among the workers."""
    resumed = found[name]["session_resumption"]
    assert resumed["tls_ticket_attempted_resumptions_count"] == 12
    assert resumed["tls_ticket_successful_resumptions_count"] == 12


@pytest.mark.parametrize(
    ("asked", "shown"), [(HOST, [HOST]), (RSA, [RSA]), (STRANGER, ["fallback.example.net"]), ("", [])]
)
def test_each_name_is_shown_its_certificate(found: Mapping[str, Finding], asked: str, shown: list[str]) -> None:
    """One chain in order, that is valid but for its authority; no stapled status is claimed or given. Without a name
    (sslyze asks so itself) it is the default one."""
    (deployment,) = found[asked or HOST]["certificate_info"]["certificate_deployments"]
    if not asked:
        deployment = found[HOST]["certificate_info"]["certificate_deployment_with_sni_disabled"]
        shown = ["fallback.example.net"]
    leaf = deployment["received_certificate_chain"][0]
    assert leaf["subject_alternative_name"]["dns_names"] == shown
    assert deployment["received_chain_has_valid_order"]
    assert not deployment["leaf_certificate_has_must_staple_extension"]
    assert deployment["ocsp_response"] is None


@pytest.mark.slow
async def test_a_higher_floor_leaves_one_version() -> None:
    """With ``--tls-min-version 1.3``, TLS 1.2 is refused like all before it."""
    settings = Settings(access_log="off", tls_min_version="1.3")
    async with running_proxy(secured([], settings=settings)) as proxy:
        found = (await scan(proxy.tls_port, (HOST,), ("tlsv1_1", "tlsv1_2", "tlsv1_3")))[HOST]
    spoken = [found[f"{version}_cipher_suites"]["is_tls_version_supported"] for version in ("tls_1_1", "tls_1_2")]
    assert spoken == [False, False]
    assert found["connectivity"]["highest_tls_version_supported"] == "TLS_1_3"
    assert len(found["tls_1_3_cipher_suites"]["accepted_cipher_suites"]) == 3


@pytest.mark.slow
async def test_a_host_that_asks_resumes_nothing_and_speaks_the_same() -> None:
    """Hosts with client certificates have contexts of their own, which keep to the same rules. That none was shown is
    told in HTTP, so that to a scanner they are optional."""
    rules = ClientCertificates(ca_pem=AUTHORITY.cert_pem.bytes().decode())
    table = secured([])
    host = msgspec.structs.replace(table.hosts[HOST], client_certificates=rules)
    async with running_proxy(msgspec.structs.replace(table, hosts={HOST: host})) as proxy:
        proxy.worker.certificates.use_ticket_keys(bytes(range(80)))
        found = (await scan(proxy.tls_port, (HOST,), ("tlsv1_1", "tlsv1_2", "compression", "reneg", "resum")))[HOST]
    assert found["connectivity"]["client_auth_requirement"] == "OPTIONAL"
    assert not found["tls_1_1_cipher_suites"]["is_tls_version_supported"]
    suites = found["tls_1_2_cipher_suites"]["accepted_cipher_suites"]
    accepted = {suite["cipher_suite"]["openssl_name"] for suite in suites}
    assert accepted == {cipher for cipher in claimed("ciphers of TLS 1.2") if "-ECDSA-" in cipher}
    assert found["tls_compression"] == {"supports_compression": False}
    assert found["session_renegotiation"]["client_renegotiations_success_count"] == 0
    assert found["session_resumption"]["session_id_resumption_result"] == "NOT_SUPPORTED"
    assert found["session_resumption"]["tls_ticket_resumption_result"] == "NOT_SUPPORTED"
