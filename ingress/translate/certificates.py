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
from typing import Final

import msgspec

from ingress.resources import Key, Problem, Secret
from ingress.translate.keypair import KeyPairFacts, read_key_pair
from ingress.translate.part import ANY_HOST, GOES_FIRST, Finding, IngressPart, TlsClaim, covers
from proxy.table import Certificate, HostPattern

__all__ = [
    "NamedCertificate",
    "PartClaims",
    "SecretReading",
    "certificate_key",
    "claim_names",
    "name_certificate",
    "read_secret",
]

LONGEST_NOTICE: Final = datetime.timedelta(days=14)
"""How long before its end a certificate is told of. Those of 90 days, the common kind, are renewed 30 days ahead by
cert-manager and 20 to 30 by others: with 14 left, renewal has been failing for more than a week, and there is time."""
NOTICE_SHARE: Final = 6
"""A certificate of a shorter life is told of in the last sixth of it: half of the third in which it is renewed."""
_MOMENT: Final = datetime.timedelta(microseconds=1)


class SecretReading(msgspec.Struct, frozen=True, kw_only=True):
    """What a Secret gives. Findings go to every field that names it."""

    certificate: Certificate | None = None
    """``None``: it cannot serve."""
    names: tuple[str, ...] = ()
    findings: tuple[Finding, ...] = ()
    changes_at: datetime.datetime | None = None
    """From then on the findings are others, though the Secret is the same. ``None``: never."""

    def told(self, fallback: str) -> tuple[Finding, ...]:
        """The findings; where it cannot serve, with what serves instead."""
        if self.certificate is not None:
            return self.findings
        return tuple(
            msgspec.structs.replace(finding, message=f"{finding.message}; {fallback} serves")
            for finding in self.findings
        )


class PartClaims(msgspec.Struct, frozen=True, kw_only=True):
    """What one Ingress claims of TLS names, as its Secrets are, and what is wrong with those."""

    part: IngressPart
    claims: dict[HostPattern, tuple[TlsClaim, ...]] = {}
    problems: tuple[Problem, ...] = ()


class NamedCertificate(msgspec.Struct, frozen=True, kw_only=True):
    """The Secret that serves one name, and the Problems of those who lost. ``None``: the default certificate does."""

    secret: Key | None = None
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
    certificate = Certificate(chain_pem=chain.decode(), key_pem=private.decode())
    if now is None:
        return SecretReading(certificate=certificate, names=facts.names)
    finding, changes_at = _judge_dates(name, facts, now)
    findings = () if finding is None else (finding,)
    return SecretReading(certificate=certificate, names=facts.names, findings=findings, changes_at=changes_at)


def _judge_dates(
    name: str, facts: KeyPairFacts, now: datetime.datetime
) -> tuple[Finding | None, datetime.datetime | None]:
    """The finding, and when it is another one. A certificate is valid at its very first and last moment."""
    notice = min(LONGEST_NOTICE, abs(facts.not_after - facts.not_before) / NOTICE_SHARE)
    if now > facts.not_after:
        message = f"the certificate in Secret {name} expired on {_date(facts.not_after)}"
        return Finding(reason="CertificateExpired", message=message, severity="warning"), None
    if now < facts.not_before:
        message = f"the certificate in Secret {name} is not valid before {_date(facts.not_before)}"
        return Finding(reason="CertificateNotYetValid", message=message, severity="warning"), min(
            facts.not_before, facts.not_after + _MOMENT
        )
    if facts.not_after - now > notice:
        return None, facts.not_after - notice
    message = f"the certificate in Secret {name} expires on {_date(facts.not_after)}"
    return Finding(reason="CertificateExpiresSoon", message=message, severity="warning"), facts.not_after + _MOMENT


def claim_names(part: IngressPart, readings: Mapping[Key, SecretReading]) -> PartClaims:
    """The claims of one part. A Secret that is not among ``readings`` is not judged."""
    claims: dict[HostPattern, list[TlsClaim]] = {}
    problems: list[Problem] = []
    for claim in part.tls:
        reading = readings.get(claim.secret)
        if reading is None:
            continue
        problems += (part.problem(claim.field, finding) for finding in reading.told("the default certificate"))
        hosts, finding = _claimed_hosts(part, claim, reading)
        if finding is not None:
            problems.append(part.problem(claim.field, finding))
        for host in hosts:
            claims.setdefault(host, []).append(claim)
    return PartClaims(part=part, claims={host: tuple(own) for host, own in claims.items()}, problems=tuple(problems))


def name_certificate(
    host: HostPattern, claims: Sequence[PartClaims], readings: Mapping[Key, SecretReading]
) -> NamedCertificate:
    """Which Secret serves a name. ``claims`` of those who claim it, oldest first; at least one."""
    claimants = [(of_part.part, claim) for of_part in claims for claim in of_part.claims[host]]
    owner = claimants[0][1].secret[0]
    usable = [(part, claim) for part, claim in claimants if readings[claim.secret].certificate is not None]
    winner = next(((part, claim) for part, claim in usable if claim.secret[0] == owner), None)
    if winner is not None:
        return NamedCertificate(secret=winner[1].secret, problems=tuple(_conflicts(host, winner, usable, readings)))
    return NamedCertificate(problems=tuple(_kept_out(host, claimants[0], usable)))


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
