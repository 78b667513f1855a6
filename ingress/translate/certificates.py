"""Secrets → certificates, and which of them serves which TLS name.

1. Only Secrets that an Ingress of the same namespace names, or the option for the default certificate, are read.
2. A certificate that is out of date, or does not cover the host, serves all the same, with a warning: a client then
   sees what is wrong, which beats the default certificate. A broken one does not: the default certificate serves.
3. The oldest Ingress decides a name. If its Secret is broken, the next Ingress of the same namespace does; another
   namespace never steps in.
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence

import msgspec

from ingress.resources import Key, Problem, Secret
from ingress.translate.keypair import read_key_pair
from ingress.translate.part import ANY_HOST, GOES_FIRST, Finding, IngressPart, TlsClaim, covers
from proxy.table import Certificate, HostPattern

__all__ = ["SecretReading", "ServerNames", "certificate_key", "name_certificates", "read_secret"]


class SecretReading(msgspec.Struct, frozen=True, kw_only=True):
    """What a Secret gives. Findings go to every field that names it."""

    certificate: Certificate | None = None
    """``None``: it cannot serve."""
    names: tuple[str, ...] = ()
    findings: tuple[Finding, ...] = ()

    def told(self, fallback: str) -> tuple[Finding, ...]:
        """The findings; where it cannot serve, with what serves instead."""
        if self.certificate is not None:
            return self.findings
        return tuple(
            msgspec.structs.replace(finding, message=f"{finding.message}; {fallback} serves")
            for finding in self.findings
        )


class ServerNames(msgspec.Struct, frozen=True, kw_only=True):
    """TLS name → Secret, and what was wrong on the way."""

    secrets: dict[HostPattern, Key]
    problems: tuple[Problem, ...] = ()


def certificate_key(secret: Key) -> str:
    """The key of the certificate in the table."""
    return f"{secret[0]}/{secret[1]}"


def read_secret(key: Key, secret: Secret | None, *, now: datetime.datetime | None) -> SecretReading:
    """The certificate in a Secret. ``now`` of ``None``: its dates are not judged."""
    name = certificate_key(key)
    if secret is None:
        message = f"Secret {name} does not exist"
        return SecretReading(findings=(Finding(reason="SecretNotFound", message=message),))
    chain, private = secret.data.get("tls.crt", b""), secret.data.get("tls.key", b"")
    facts = read_key_pair(chain, private)
    if facts.fault:
        message = f"Secret {name} {facts.fault}"
        return SecretReading(findings=(Finding(reason="BadCertificate", message=message),))
    findings: tuple[Finding, ...] = ()
    if now is not None and now > facts.not_after:
        message = f"the certificate in Secret {name} expired on {_date(facts.not_after)}"
        findings = (Finding(reason="CertificateExpired", message=message, severity="warning"),)
    elif now is not None and now < facts.not_before:
        message = f"the certificate in Secret {name} is not valid before {_date(facts.not_before)}"
        findings = (Finding(reason="CertificateNotYetValid", message=message, severity="warning"),)
    certificate = Certificate(chain_pem=chain.decode(), key_pem=private.decode())
    return SecretReading(certificate=certificate, names=facts.names, findings=findings)


def name_certificates(parts: Sequence[IngressPart], readings: Mapping[Key, SecretReading]) -> ServerNames:
    """Which Secret serves which name. ``parts`` come oldest first."""
    claims: dict[HostPattern, list[tuple[IngressPart, TlsClaim]]] = {}
    problems: list[Problem] = []
    for part in parts:
        for claim in part.tls:
            reading = readings[claim.secret]
            problems += (part.problem(claim.field, finding) for finding in reading.told("the default certificate"))
            hosts, finding = _claimed_hosts(part, claim, reading)
            if finding is not None:
                problems.append(part.problem(claim.field, finding))
            for host in hosts:
                claims.setdefault(host, []).append((part, claim))
    secrets: dict[HostPattern, Key] = {}
    for host, claimants in claims.items():
        owner = claimants[0][1].secret[0]
        usable = [(part, claim) for part, claim in claimants if readings[claim.secret].certificate is not None]
        winner = next(((part, claim) for part, claim in usable if claim.secret[0] == owner), None)
        if winner is not None:
            secrets[host] = winner[1].secret
            problems += _conflicts(host, winner, usable, readings)
        elif usable:
            problems += _kept_out(host, claimants[0], usable)
    return ServerNames(secrets=secrets, problems=tuple(problems))


def _claimed_hosts(
    part: IngressPart, claim: TlsClaim, reading: SecretReading
) -> tuple[tuple[HostPattern, ...], Finding | None]:
    """The TLS names that a claim is for, and a finding if the certificate does not cover them."""
    secret = certificate_key(claim.secret)
    if claim.rule_hosts:
        named = tuple(host for host in part.hosts if host != ANY_HOST)
        if reading.certificate is None:
            return named, None  # it might cover any of them: nobody else steps in
        hosts = tuple(host for host in named if _is_covered(host, reading))
        if hosts:
            return hosts, None
        message = (
            f"the certificate in Secret {secret} covers no host of this Ingress{_covered(reading)}; it is not used"
        )
        return (), Finding(reason="HostNotCovered", message=message, severity="warning")
    missing = sorted(host for host in claim.hosts if not _is_covered(host, reading))
    if not missing or reading.certificate is None:
        return claim.hosts, None
    message = f"the certificate in Secret {secret} does not cover {', '.join(missing)}{_covered(reading)}"
    return claim.hosts, Finding(reason="HostNotCovered", message=message, severity="warning")


def _is_covered(host: HostPattern, reading: SecretReading) -> bool:
    return any(covers(name, host) for name in reading.names)


def _covered(reading: SecretReading) -> str:
    if not reading.names:
        return " (it has no DNS name in subjectAltName)"
    shown = ", ".join(reading.names[:5])
    return f" (it covers {shown}{', …' if len(reading.names) > 5 else ''})"


def _conflicts(
    host: HostPattern,
    winner: tuple[IngressPart, TlsClaim],
    usable: Sequence[tuple[IngressPart, TlsClaim]],
    readings: Mapping[Key, SecretReading],
) -> list[Problem]:
    """Problems of other claims that would have given another certificate."""
    owner, won = winner
    secret = certificate_key(won.secret)
    certificate = readings[won.secret].certificate
    problems = []
    for part, claim in usable:
        if readings[claim.secret].certificate != certificate:
            age = "this Ingress" if part is owner else f"{owner.ref}, which {GOES_FIRST},"
            finding = Finding(
                reason="CertificateConflict",
                message=f"{age} already gives {host} the certificate of Secret {secret} ({won.field})",
            )
            problems.append(part.problem(claim.field, finding))
    return problems


def _kept_out(
    host: HostPattern, owner: tuple[IngressPart, TlsClaim], usable: Sequence[tuple[IngressPart, TlsClaim]]
) -> list[Problem]:
    message = f"{owner[0].ref} {GOES_FIRST} and decides the certificate of {host}, which it lacks"
    finding = Finding(reason="CertificateConflict", message=message)
    return [part.problem(claim.field, finding) for part, claim in usable]


def _date(moment: datetime.datetime) -> str:
    return moment.strftime("%Y-%m-%d %H:%M UTC")
