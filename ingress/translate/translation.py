"""The whole: select, read each object, merge, put in order."""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Mapping, Sequence
from typing import TypeVar

import msgspec

from ingress.options import Options
from ingress.resources import Ingress, Key, ObjectRef, Problem, Snapshot
from ingress.translate.backends import Backend, resolve_backends
from ingress.translate.certificates import SecretReading, certificate_key, name_certificates, read_secret
from ingress.translate.classes import select_ingress
from ingress.translate.conflicts import merge_hosts
from ingress.translate.defaults import choose_default, default_backend_key, with_fallback
from ingress.translate.hosts import read_ingress
from ingress.translate.lookup import Objects
from ingress.translate.part import BackendKey, IngressPart, age_of
from proxy.table import Certificate, Cluster, Forward, Host, HostPattern, Route, Table

__all__ = ["Translation", "translate"]

V = TypeVar("V")


class Translation(msgspec.Struct, frozen=True, kw_only=True):
    """The result for one snapshot."""

    table: Table
    problems: tuple[Problem, ...] = ()
    """Sorted, without duplicates."""
    served: tuple[ObjectRef, ...] = ()
    """The Ingresses of our class, sorted: those whose status is ours to write."""


def translate(snapshot: Snapshot, options: Options, *, now: datetime.datetime | None = None) -> Translation:
    """The routing table of a snapshot. Never raises.

    ``now`` (with a time zone) judges the dates of certificates; ``None``: they are not judged. Equal input gives an
    equal table, byte by byte: maps are in order of their keys, whatever the order of the objects.
    """
    objects = Objects(snapshot)
    problems: list[Problem] = []
    ingresses: list[Ingress] = []
    parts: list[IngressPart] = []
    for ingress in sorted(snapshot.ingresses.values(), key=age_of):
        selection = select_ingress(ingress, options, objects)
        problems += selection.problems
        if selection.ours:
            ingresses.append(ingress)
            parts.append(read_ingress(ingress, options, objects, ingress_class=selection.ingress_class))
    for part in parts:
        problems += part.problems

    backends = resolve_backends(
        _wanted_backends(parts, options), snapshot, allow_local_names=options.settings.allow_local_names
    )
    problems += _backend_problems(parts, backends, options)

    readings = {key: read_secret(key, snapshot.secrets.get(key), now=now) for key in _wanted_secrets(parts, options)}
    names = name_certificates(parts, readings)
    problems += names.problems
    problems += _default_certificate_problems(readings, options)

    merged = merge_hosts(parts)
    problems += merged.problems
    default, lost = choose_default(parts, options.default_backend)
    problems += lost
    hosts = merged.hosts if default is not None else with_fallback(merged.hosts, parts)

    default_certificate = _default_certificate(readings, options)
    table = Table(
        hosts=_in_order(hosts),
        clusters=_in_order(_used_clusters(hosts, default, backends)),
        certificates=_in_order(_used_certificates(names.secrets.values(), default_certificate, readings)),
        server_names=_in_order({host: certificate_key(secret) for host, secret in names.secrets.items()}),
        default=default,
        default_certificate=None if default_certificate is None else certificate_key(default_certificate),
        settings=options.settings,
    )
    return Translation(
        table=table,
        problems=tuple(sorted(set(problems), key=lambda problem: (*problem.sort_key, problem.severity))),
        served=tuple(sorted(ingress.ref for ingress in ingresses)),
    )


def _wanted_backends(parts: Sequence[IngressPart], options: Options) -> set[BackendKey]:
    keys = {use.key for part in parts for use in part.backends}
    if options.default_backend is not None:
        keys.add(default_backend_key(options.default_backend))
    return keys


def _backend_problems(
    parts: Sequence[IngressPart], backends: Mapping[BackendKey, Backend], options: Options
) -> list[Problem]:
    problems = [
        part.problem(use.field, finding)
        for part in parts
        for use in part.backends
        for finding in backends[use.key].findings
    ]
    if options.default_backend is not None:
        key = default_backend_key(options.default_backend)
        ref = ObjectRef(kind="Service", namespace=key.namespace, name=key.service)
        problems += (
            Problem(object=ref, field="", reason=finding.reason, message=finding.message, severity=finding.severity)
            for finding in backends[key].findings
        )
    return problems


def _wanted_secrets(parts: Sequence[IngressPart], options: Options) -> set[Key]:
    keys = {claim.secret for part in parts for claim in part.tls}
    if options.default_ssl_certificate is not None:
        keys.add(options.default_ssl_certificate)
    return keys


def _default_certificate(readings: Mapping[Key, SecretReading], options: Options) -> Key | None:
    key = options.default_ssl_certificate
    return key if key is not None and readings[key].certificate is not None else None


def _default_certificate_problems(readings: Mapping[Key, SecretReading], options: Options) -> list[Problem]:
    key = options.default_ssl_certificate
    if key is None:
        return []
    ref = ObjectRef(kind="Secret", namespace=key[0], name=key[1])
    return [
        Problem(object=ref, field="", reason=finding.reason, message=finding.message, severity=finding.severity)
        for finding in readings[key].told("a self-signed certificate")
    ]


def _used_clusters(
    hosts: Mapping[HostPattern, Host], default: Route | None, backends: Mapping[BackendKey, Backend]
) -> dict[str, Cluster]:
    """The clusters that a route of the table names."""
    clusters = {key.cluster: backend.cluster for key, backend in backends.items()}
    routes = [route for host in hosts.values() for route in (*host.routes, host.default)]
    used = {route.action.cluster for route in (*routes, default) if route and isinstance(route.action, Forward)}
    return {name: cluster for name, cluster in clusters.items() if name in used}


def _used_certificates(
    secrets: Iterable[Key], default: Key | None, readings: Mapping[Key, SecretReading]
) -> dict[str, Certificate]:
    certificates = {}
    for key in (*secrets, *(() if default is None else (default,))):
        certificate = readings[key].certificate
        if certificate is not None:
            certificates[certificate_key(key)] = certificate
    return certificates


def _in_order(values: Mapping[str, V]) -> dict[str, V]:
    return dict(sorted(values.items()))
