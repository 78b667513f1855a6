"""The name rules of Kubernetes: each function says what is wrong with a value, or an empty string."""

from __future__ import annotations

import ipaddress
import re

__all__ = ["host_fault", "is_ip", "label_fault", "port_fault", "port_name_fault", "subdomain_fault"]

_LABEL = r"[a-z0-9](?:[-a-z0-9]*[a-z0-9])?"
_LABEL_ONLY = re.compile(rf"{_LABEL}\Z")
_SUBDOMAIN = re.compile(rf"{_LABEL}(?:\.{_LABEL})*\Z")
_PORT_NAME = re.compile(rf"{_LABEL}\Z")

_LABEL_LENGTH = 63
_SUBDOMAIN_LENGTH = 253
_PORT_NAME_LENGTH = 15
_LAST_PORT = 65535


def label_fault(value: str) -> str:
    """RFC 1123 label: names of Services and namespaces."""
    if len(value) > _LABEL_LENGTH:
        return f"must not be longer than {_LABEL_LENGTH} characters"
    if not _LABEL_ONLY.match(value):
        return "must be lower-case letters, digits and '-', with a letter or digit at both ends (RFC 1123 label)"
    return ""


def subdomain_fault(value: str) -> str:
    """RFC 1123 subdomain: names of most objects."""
    if len(value) > _SUBDOMAIN_LENGTH:
        return f"must not be longer than {_SUBDOMAIN_LENGTH} characters"
    if not _SUBDOMAIN.match(value):
        return (
            "must be lower-case letters, digits, '-' and '.', each part with a letter or digit at both ends"
            " (RFC 1123 subdomain)"
        )
    return ""


def host_fault(value: str) -> str:
    """A host of an Ingress: a subdomain, or one after ``*.``; no address and no port."""
    if is_ip(value.strip("[]")):
        return "must be a DNS name, not an IP address"
    if not value.isascii():
        return "must be ASCII: write an international name in its xn-- form"
    if ":" in value:
        return "must not have a port"
    if value != value.lower():
        return f'must be lower case: "{value.lower()}"'
    if value.startswith("*."):
        fault = subdomain_fault(value[2:])
        return f"after '*.' it {fault}" if fault else ""
    if "*" in value:
        return "'*' must stand alone as the first part of the name, as in *.example.com"
    return subdomain_fault(value)


def port_name_fault(value: str) -> str:
    """``IANA_SVC_NAME`` (RFC 6335, section 5.1): names of ports."""
    if len(value) > _PORT_NAME_LENGTH:
        return f"must not be longer than {_PORT_NAME_LENGTH} characters"
    if not _PORT_NAME.match(value) or "--" in value or not any(char.isalpha() for char in value):
        return "must be lower-case letters, digits and single '-' between them, with at least one letter"
    return ""


def port_fault(value: int) -> str:
    """A port number."""
    return "" if 1 <= value <= _LAST_PORT else f"must be between 1 and {_LAST_PORT}"


def is_ip(value: str) -> bool:
    """IPv4 or IPv6, without a zone."""
    try:
        ipaddress.ip_address(value)
    except ValueError:
        return False
    return "%" not in value
