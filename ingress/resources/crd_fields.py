"""Every field of our own kinds with its rules. The schemas in ``crds/`` say the same, which a test holds.

A rule lives here once; decoding, ``pyngress check`` and the webhook come by it.
"""

from __future__ import annotations

from typing import Any, Final

from ingress.resources.crd_shared import (
    BALANCING,
    DURATION_TEXT,
    EJECTION,
    HEAD_SIZE,
    HEADER_EDITS,
    HEADERS,
    NAMESPACE,
    OBJECT_NAME,
    RANGES,
    SIZE_VALUE,
    SUBDOMAIN,
    enum_of,
    has_one_of,
    our_object,
)
from ingress.resources.schema import Fields, Items, Number, NumberOrText, Pairs, Rule, Text
from ingress.resources.shape import BOOL
from ingress.resources.values import COOKIE_PATH, MAX_HEADER_NAME, ORIGIN, PORT, TOKEN, parse_port

__all__ = ["CLASS_PARAMETERS", "RESPONSE", "TRAFFIC_POLICY"]

_PATH_CHARACTER: Final = "[-A-Za-z0-9._~!$&'()*+,;=:@]|%[0-9A-Fa-f]{2}"
_LAST_PORT: Final = 65535

_TARGET_KIND: Final = enum_of("Ingress", "Service")
_GROUPS: Final = {"Ingress": "networking.k8s.io", "Service": ""}

_COOKIE: Final = Fields(
    {
        "name": Text(wants="must be a token", pattern=TOKEN, min_length=1, max_length=128),
        "path": Text(wants="must begin with / and be ASCII without a space or ;", pattern=COOKIE_PATH, max_length=512),
        "maxAge": DURATION_TEXT,
        "secure": BOOL,
        "sameSite": enum_of("Strict", "Lax", "None"),
    }
)
_TOKENS: Final = Items(
    Text(wants="must be a name or *", pattern=TOKEN, min_length=1, max_length=MAX_HEADER_NAME), max_items=64
)
_CORS: Final = Fields(
    {
        "allowOrigins": Items(
            Text(
                wants="must be an origin like https://a.example.com or https://*.example.com, or *",
                pattern=ORIGIN,
                max_length=300,
            ),
            min_items=1,
            max_items=64,
        ),
        "allowMethods": _TOKENS,
        "allowHeaders": _TOKENS,
        "exposeHeaders": _TOKENS,
        "allowCredentials": BOOL,
        "maxAge": DURATION_TEXT,
    }
)
_RATE_LIMIT: Final = Fields(
    {
        "requests": Number(minimum=1, maximum=1_000_000),
        "per": enum_of("Second", "Minute", "Hour"),
        "burst": Number(minimum=0, maximum=1_000_000),
        "statusCode": Number(minimum=400, maximum=599),
        "exempt": RANGES,
    },
    required=("requests",),
)

_VERSION: Final = enum_of("1.2", "1.3")
_UPSTREAM: Final = Fields(
    {
        "protocol": enum_of("HTTP", "HTTPS", "GRPC", "GRPCS", "AUTO_HTTP"),
        "sendProxy": enum_of("v1", "v2"),
        "tls": Fields(
            {
                "verify": BOOL,
                "caCertificateRef": Fields(
                    {"kind": enum_of("Secret", "ConfigMap"), "name": OBJECT_NAME}, required=("name",)
                ),
                "verifyDepth": Number(minimum=0, maximum=100),
                "serverName": Text(wants="must be a DNS name", pattern=SUBDOMAIN, min_length=1, max_length=253),
                "clientCertificateRef": Fields({"name": OBJECT_NAME}, required=("name",)),
                "minVersion": _VERSION,
                "maxVersion": _VERSION,
                "ciphers": Text(
                    wants="must be a list of ciphers, separated by :",
                    pattern="^[A-Za-z0-9+:_!-]+$",
                    min_length=1,
                    max_length=2048,
                ),
            },
            rules=(
                Rule(
                    cel="!(has(self.minVersion) && has(self.maxVersion)) || self.minVersion <= self.maxVersion",
                    message="minVersion must not be above maxVersion",
                    holds=lambda tls: str(tls.get("minVersion", "1.2")) <= str(tls.get("maxVersion", "1.3")),
                ),
            ),
        ),
    },
    rules=(
        has_one_of("protocol", "tls", "sendProxy"),
        Rule(
            cel="!has(self.tls) || (has(self.protocol) && self.protocol in ['HTTPS', 'GRPCS', 'AUTO_HTTP'])",
            message="tls needs protocol HTTPS, GRPCS or AUTO_HTTP",
            holds=lambda upstream: "tls" not in upstream or upstream.get("protocol") in ("HTTPS", "GRPCS", "AUTO_HTTP"),
        ),
    ),
)

TRAFFIC_POLICY: Final = our_object(
    Fields(
        {
            "targetRefs": Items(
                Fields(
                    {"group": Text(max_length=253), "kind": _TARGET_KIND, "name": OBJECT_NAME},
                    required=("kind", "name"),
                    rules=(
                        Rule(
                            cel="!has(self.group) || self.group == (self.kind == 'Ingress' ? 'networking.k8s.io' : '')",
                            message="the group of an Ingress is networking.k8s.io, that of a Service is empty",
                            holds=lambda ref: "group" not in ref or ref["group"] == _GROUPS.get(str(ref.get("kind"))),
                        ),
                    ),
                ),
                max_items=64,
            ),
            "targetSelector": Fields(
                {"kind": _TARGET_KIND, "matchLabels": Pairs(Text(max_length=63), max_properties=32)},
                required=("kind",),
            ),
            "timeouts": Fields({"connect": DURATION_TEXT, "read": DURATION_TEXT, "send": DURATION_TEXT}),
            "retries": Fields({"attempts": Number(minimum=0, maximum=10)}, required=("attempts",)),
            "limits": Fields({"bodySize": SIZE_VALUE, "requests": Number(minimum=0, maximum=1_000_000)}),
            "requestHeaders": HEADER_EDITS,
            "responseHeaders": HEADER_EDITS,
            "cors": _CORS,
            "rateLimit": _RATE_LIMIT,
            "access": Fields({"allow": RANGES, "deny": RANGES}, rules=(has_one_of("allow", "deny"),)),
            "balancing": BALANCING,
            "affinity": Fields({"cookie": _COOKIE}, required=("cookie",)),
            "ejection": EJECTION,
            "upstream": _UPSTREAM,
        },
        rules=(has_one_of("targetRefs", "targetSelector"),),
    )
)

_HSTS: Final = Fields(
    {"enabled": BOOL, "maxAge": DURATION_TEXT, "includeSubdomains": BOOL, "preload": BOOL},
)

CLASS_PARAMETERS: Final = our_object(
    Fields(
        {
            "defaultBackend": Fields(
                {
                    "namespace": NAMESPACE,
                    "name": NAMESPACE,
                    "port": NumberOrText(
                        pattern=PORT,
                        max_length=15,
                        parser=parse_port,
                    ),
                },
                required=("namespace", "name", "port"),
            ),
            "defaultCertificate": Fields({"namespace": NAMESPACE, "name": OBJECT_NAME}, required=("namespace", "name")),
            "timeouts": Fields(
                dict.fromkeys(
                    ("connect", "read", "send", "header", "body", "write", "keepalive", "tunnel", "tlsHandshake"),
                    DURATION_TEXT,
                )
            ),
            "limits": Fields(
                {
                    "bodySize": SIZE_VALUE,
                    "requestLine": HEAD_SIZE,
                    "headerBytes": HEAD_SIZE,
                    "headerFields": Number(minimum=1, maximum=10_000),
                    "connections": Number(minimum=0, maximum=10_000_000),
                }
            ),
            "trustedProxies": RANGES,
            "accessLog": Fields({"format": enum_of("Off", "JSON", "Combined")}, required=("format",)),
            "tls": Fields(
                {"minVersion": enum_of("1.2", "1.3"), "hsts": _HSTS}, rules=(has_one_of("minVersion", "hsts"),)
            ),
            "requestHeaders": HEADER_EDITS,
            "responseHeaders": HEADER_EDITS,
            "upstream": Fields(
                {
                    "maxRetries": Number(minimum=0, maximum=10),
                    "keepaliveConnections": Number(minimum=0, maximum=100_000),
                    "keepaliveTimeout": DURATION_TEXT,
                    "balancing": BALANCING,
                    "ejection": EJECTION,
                }
            ),
            "sslRedirect": BOOL,
        }
    )
)

_REDIRECT_PATH: Final = Text(
    wants="must begin with one / and hold neither a space, ? nor #",
    pattern=f"^/(({_PATH_CHARACTER})({_PATH_CHARACTER}|/)*)?$",
    min_length=1,
    max_length=1024,
)
_REDIRECT: Final = Fields(
    {
        "scheme": enum_of("http", "https"),
        "hostname": Text(wants="must be a host name", pattern=SUBDOMAIN, min_length=1, max_length=253),
        "port": Number(minimum=1, maximum=_LAST_PORT),
        "path": Fields(
            {
                "type": enum_of("ReplaceFullPath", "ReplacePrefixMatch"),
                "replaceFullPath": _REDIRECT_PATH,
                "replacePrefixMatch": _REDIRECT_PATH,
            },
            required=("type",),
            rules=(
                Rule(
                    cel="has(self.replaceFullPath) == (self.type == 'ReplaceFullPath')",
                    message="type ReplaceFullPath needs replaceFullPath, and only it",
                    holds=lambda path: ("replaceFullPath" in path) == (path.get("type") == "ReplaceFullPath"),
                ),
                Rule(
                    cel="has(self.replacePrefixMatch) == (self.type == 'ReplacePrefixMatch')",
                    message="type ReplacePrefixMatch needs replacePrefixMatch, and only it",
                    holds=lambda path: ("replacePrefixMatch" in path) == (path.get("type") == "ReplacePrefixMatch"),
                ),
            ),
        ),
        "statusCode": Number(minimum=301, maximum=308),
    },
    rules=(
        Rule(
            cel="has(self.scheme) || has(self.hostname) || has(self.port) || has(self.path)",
            message="needs scheme, hostname, port or path: else it would lead where it came from",
            holds=lambda value: any(field in value for field in ("scheme", "hostname", "port", "path")),
        ),
        Rule(
            cel="!has(self.statusCode) || self.statusCode in [301, 302, 303, 307, 308]",
            message="statusCode must be 301, 302, 303, 307 or 308",
            holds=lambda value: value.get("statusCode", 302) in (301, 302, 303, 307, 308),
        ),
    ),
)


def _has_no_body(spec: Any) -> bool:
    return spec.get("status") in (204, 205, 304)


RESPONSE: Final = our_object(
    Fields(
        {
            "status": Number(minimum=200, maximum=599),
            "headers": HEADERS,
            "body": Text(max_length=262_144),
            "bodyFrom": Fields(
                {
                    "configMapKeyRef": Fields(
                        {
                            "name": OBJECT_NAME,
                            "key": Text(
                                wants="must be a key of a ConfigMap",
                                pattern="^[-._a-zA-Z0-9]+$",
                                min_length=1,
                                max_length=253,
                            ),
                        },
                        required=("name", "key"),
                    )
                },
                required=("configMapKeyRef",),
            ),
            "redirect": _REDIRECT,
        },
        rules=(
            Rule(
                cel="has(self.status) != has(self.redirect)",
                message="needs exactly one of status and redirect",
                holds=lambda spec: ("status" in spec) != ("redirect" in spec),
            ),
            Rule(
                cel="!has(self.redirect) || !(has(self.headers) || has(self.body) || has(self.bodyFrom))",
                message="headers, body and bodyFrom go with status, not with redirect",
                holds=lambda spec: "redirect" not in spec or not {"headers", "body", "bodyFrom"} & spec.keys(),
            ),
            Rule(
                cel="!(has(self.body) && has(self.bodyFrom))",
                message="may have body or bodyFrom, not both",
                holds=lambda spec: not {"body", "bodyFrom"} <= spec.keys(),
            ),
            Rule(
                cel="!has(self.status) || !(self.status in [204, 205, 304]) || !(has(self.body) || has(self.bodyFrom))",
                message="a response of status 204, 205 or 304 has no body",
                holds=lambda spec: not (_has_no_body(spec) and {"body", "bodyFrom"} & spec.keys()),
            ),
        ),
    )
)
