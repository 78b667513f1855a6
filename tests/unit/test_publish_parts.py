"""The small parts of publishing: worker count, backoff, default certificate."""

from __future__ import annotations

import datetime
import os
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from ingress.publish import with_default_certificate, worker_count
from ingress.publish.backoff import Backoff
from ingress.publish.certificate import SELF_SIGNED, self_signed
from ingress.publish.quota import cpu_quota
from proxy.table import Certificate, Table


def cgroups(folder: Path, **files: str) -> Path:
    for name, text in files.items():
        path = folder / name.replace("__", "/").replace("_DOT_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


@pytest.mark.parametrize(
    ("files", "quota"),
    [
        ({"cpu_DOT_max": "150000 100000\n"}, 1.5),
        ({"cpu_DOT_max": "max 100000\n"}, None),
        ({"cpu_DOT_max": "rubbish\n"}, None),
        ({"cpu__cpu.cfs_quota_us": "50000\n", "cpu__cpu.cfs_period_us": "100000\n"}, 0.5),
        ({"cpu__cpu.cfs_quota_us": "-1\n", "cpu__cpu.cfs_period_us": "100000\n"}, None),
        ({}, None),
    ],
)
def test_the_cpu_quota_of_both_cgroup_versions(tmp_path: Path, files: dict[str, str], quota: float | None) -> None:
    """Cores as a fraction, or no limit; what does not parse is no limit."""
    assert cpu_quota(cgroups(tmp_path, **files)) == quota


def test_auto_is_the_quota_rounded_up_but_not_more_than_the_cores(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A container of 1.5 cores on a host of eight runs two workers, one of 20 cores eight, one of 0.1 cores one."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)))
    assert worker_count(0, cgroups=tmp_path) == 8
    for quota, workers in {"150000": 2, "2000000": 8, "10000": 1, "max": 8}.items():
        assert worker_count(0, cgroups=cgroups(tmp_path, cpu_DOT_max=f"{quota} 100000")) == workers
    assert worker_count(13, cgroups=tmp_path) == 13


def test_quick_deaths_wait_longer_and_longer() -> None:
    """The first successor comes at once; a life of ten seconds makes the next one the first again."""
    backoff = Backoff()
    assert [backoff.delay_after(0.1) for _ in range(8)] == [0, 0.5, 1, 2, 4, 8, 10, 10]
    assert [backoff.delay_after(lived) for lived in (60.0, 1.0, 1.0)] == [0, 0.5, 1]


def test_the_self_signed_certificate_is_a_pair_that_is_valid_now() -> None:
    """Key and certificate belong together, and clocks that are a little behind accept it."""
    made = self_signed()
    certificate = x509.load_pem_x509_certificate(made.chain_pem.encode())
    key = serialization.load_pem_private_key(made.key_pem.encode(), None)
    form = (serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    assert certificate.public_key().public_bytes(*form) == key.public_key().public_bytes(*form)
    now = datetime.datetime.now(datetime.UTC)
    assert certificate.not_valid_before_utc < now - datetime.timedelta(minutes=30)
    assert certificate.not_valid_after_utc > now + datetime.timedelta(days=365)


def test_it_is_the_default_only_where_the_table_has_none() -> None:
    """A default certificate of the operator stays; one that the table names but lacks does not count."""
    ours, theirs = Certificate(chain_pem="o", key_pem="o"), Certificate(chain_pem="t", key_pem="t")
    with_own = Table(certificates={"a/b": theirs}, default_certificate="a/b")
    assert with_default_certificate(with_own, ours) is with_own
    for table in (Table(), Table(default_certificate="a/b")):
        filled = with_default_certificate(table, ours)
        assert filled.default_certificate == SELF_SIGNED
        assert filled.certificates[SELF_SIGNED] is ours
