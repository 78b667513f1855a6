"""The annotations of client certificates (``auth-tls-*``)."""

from __future__ import annotations

from typing import Final

from ingress.annotations.parsers import (
    parse_bool,
    parse_choice,
    parse_count,
    parse_object,
    parse_subject,
    parse_url,
)
from ingress.annotations.spec import AnnotationSpec

__all__ = ["CLIENT_CERTIFICATES"]

CLIENT_CERTIFICATES: Final[tuple[AnnotationSpec, ...]] = (
    AnnotationSpec(
        name="auth-tls-secret",
        parser=parse_object,
        scope="ingress",
        risk="medium",
        unsafe_to_ignore=True,
        default="clients are not asked",
        help=(
            "Ask clients for a certificate of an authority in `ca.crt` of this Secret of the same namespace; with "
            "`ca.crl`, one that none of these lists revokes. It holds for all paths of the hosts of this Ingress, of "
            "whatever Ingress: the oldest that asks decides, and what others ask otherwise is answered with 503. As "
            "long as the Secret is missing or broken, the hosts answer 503. Without a certificate, or with a bad one, "
            "requests get 400; in plain text, too, where nothing can be shown, but for ACME challenges on paths under "
            "`/.well-known/acme-challenge` that an Ingress names, as cert-manager's do. A connection serves one such "
            "host: requests for others on it get 421. Backends are told by `ssl-client-verify`, "
            "`ssl-client-subject-dn` and `ssl-client-issuer-dn`; what clients write there is removed."
        ),
        example="default/authority",
    ),
    AnnotationSpec(
        name="auth-tls-verify-client",
        parser=parse_choice("on", "off", "optional", "optional_no_ca"),
        scope="ingress",
        risk="medium",
        unsafe_to_ignore=True,
        default="`on`",
        help=(
            "`on`: a good certificate is required. `optional`: none will do, too; a bad one will not. "
            "`optional_no_ca`: so will one of an unknown authority, of which the backend is told. `off`: nobody is "
            "asked."
        ),
        example="optional",
    ),
    AnnotationSpec(
        name="auth-tls-verify-depth",
        parser=parse_count,
        scope="ingress",
        risk="low",
        unsafe_to_ignore=True,
        default="`1`",
        help="How many certificates may stand between the client's and one of the Secret.",
        example="2",
    ),
    AnnotationSpec(
        name="auth-tls-match-cn",
        parser=parse_subject,
        scope="ingress",
        risk="high",
        unsafe_to_ignore=True,
        default="any",
        help=(
            "An expression (RE2) beginning with `CN=` that has to be found in the subject, such as "
            "`CN=alice,O=Acme`; else 403. It is found anywhere: `CN=alice` also in `CN=alice2`, so end it with `(,|$)`."
        ),
        example="CN=(alice|bob)(,|$)",
    ),
    AnnotationSpec(
        name="auth-tls-error-page",
        parser=parse_url,
        scope="ingress",
        risk="high",
        unsafe_to_ignore=False,
        default="none",
        help="Where to send (302) who would get 400. A URL; named locations (`@name`) are not supported.",
        example="https://example.com/certificate-needed",
    ),
    AnnotationSpec(
        name="auth-tls-pass-certificate-to-upstream",
        parser=parse_bool,
        scope="ingress",
        risk="low",
        unsafe_to_ignore=False,
        default="`false`",
        help="Send the certificate to the backend: PEM, percent-encoded, in `ssl-client-cert`.",
        example="true",
    ),
    AnnotationSpec(
        name="auth-tls-refuse-in-handshake",
        parser=parse_bool,
        scope="ingress",
        risk="low",
        unsafe_to_ignore=False,
        default="`false`",
        help="End the handshake instead of answering 400. ingress-nginx has no such annotation.",
        example="true",
    ),
)
