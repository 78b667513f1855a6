"""Specs of our own kinds, good and bad, and the field at fault."""

from __future__ import annotations

from typing import Any

Spec = dict[str, Any]

TARGET: Spec = {"targetRefs": [{"kind": "Ingress", "name": "web"}]}
CIDRS = {"allow": ["10.0.0.0/8", "2001:db8::/32", "192.0.2.1"], "deny": ["10.1.0.0/16"]}
EDITS = {
    "set": [{"name": "X-Frame-Options", "value": "DENY"}, {"name": "X-A", "value": "a b\tc"}],
    "add": [{"name": "Set-Cookie", "value": "a=b; Path=/"}],
    "remove": ["X-Powered-By"],
}
EJECTION = {"consecutiveFailures": 3, "baseTime": "10s", "maxTime": "5m", "maxPercent": 50}
HASH = {"method": "Hash", "hashBy": [{"source": "Cookie", "name": "user"}, {"source": "RequestURI"}]}

GOOD: list[tuple[str, Spec]] = [
    ("TrafficPolicy", TARGET),
    ("TrafficPolicy", {"targetSelector": {"kind": "Service"}}),
    (
        "TrafficPolicy",
        {
            "targetRefs": [
                {"group": "networking.k8s.io", "kind": "Ingress", "name": "web"},
                {"group": "", "kind": "Service", "name": "api"},
            ],
            "targetSelector": {"kind": "Ingress", "matchLabels": {"app": "web"}},
            "timeouts": {"connect": "500ms", "read": "1m30s", "send": "1h"},
            "retries": {"attempts": 0},
            "limits": {"bodySize": "8Mi", "requests": 50},
            "requestHeaders": EDITS,
            "responseHeaders": EDITS,
            "cors": {
                "allowOrigins": ["https://a.example.com", "https://*.example.com:8443", "null"],
                "allowMethods": ["GET"],
                "allowHeaders": ["X-A"],
                "exposeHeaders": ["*"],
                "allowCredentials": True,
                "maxAge": "10m",
            },
            "rateLimit": {"requests": 5, "per": "Minute", "burst": 0, "statusCode": 503, "exempt": ["10.0.0.0/8"]},
            "access": CIDRS,
            "balancing": HASH,
            "affinity": {
                "cookie": {"name": "route", "path": "/a", "maxAge": "1h", "secure": True, "sameSite": "Strict"}
            },
            "ejection": EJECTION,
            "upstream": {
                "protocol": "HTTPS",
                "tls": {
                    "verify": True,
                    "caCertificateRef": {"kind": "ConfigMap", "name": "authorities"},
                    "verifyDepth": 0,
                    "serverName": "api.internal.example.com",
                    "clientCertificateRef": {"name": "ours"},
                    "minVersion": "1.2",
                    "maxVersion": "1.3",
                    "ciphers": "HIGH:!SHA1",
                },
            },
        },
    ),
    ("TrafficPolicy", {**TARGET, "upstream": {"protocol": "HTTPS", "tls": {"minVersion": "1.3"}}}),
    ("TrafficPolicy", {**TARGET, "upstream": {"protocol": "HTTP"}}),
    ("TrafficPolicy", {**TARGET, "upstream": {"protocol": "GRPC"}}),
    ("TrafficPolicy", {**TARGET, "upstream": {"protocol": "GRPCS", "tls": {}}}),
    ("TrafficPolicy", {**TARGET, "upstream": {"protocol": "AUTO_HTTP", "tls": {}}}),
    ("TrafficPolicy", {**TARGET, "upstream": {"sendProxy": "v2"}}),
    ("TrafficPolicy", {**TARGET, "limits": {"bodySize": 0}, "cors": {}, "ejection": {}, "affinity": {"cookie": {}}}),
    ("TrafficPolicy", {**TARGET, "access": {"allow": []}}),
    ("IngressClassParameters", {}),
    (
        "IngressClassParameters",
        {
            "defaultBackend": {"namespace": "default", "name": "web", "port": 8080},
            "defaultCertificate": {"namespace": "certs", "name": "wild.example.com"},
            "timeouts": {"connect": "5s", "read": "60s", "send": "60s", "header": "10s", "body": "1m", "write": "1m"}
            | {"keepalive": "75s", "tunnel": "1h", "tlsHandshake": "10s"},
            "limits": {"bodySize": "8m", "requestLine": 8192, "headerBytes": "32k", "headerFields": 100}
            | {"connections": 0},
            "trustedProxies": ["10.0.0.0/8"],
            "accessLog": {"format": "Combined"},
            "tls": {"minVersion": "1.3"},
            "requestHeaders": EDITS,
            "responseHeaders": EDITS,
            "upstream": {"maxRetries": 1, "keepaliveConnections": 0, "keepaliveTimeout": "30s", "ejection": EJECTION}
            | {"balancing": HASH},
            "sslRedirect": False,
        },
    ),
    ("IngressClassParameters", {"defaultBackend": {"namespace": "default", "name": "web", "port": "http"}}),
    (
        "IngressClassParameters",
        {"tls": {"hsts": {"enabled": True, "maxAge": "24h", "includeSubdomains": False, "preload": True}}},
    ),
    ("Response", {"status": 503}),
    (
        "Response",
        {"status": 200, "headers": [{"name": "Content-Type", "value": "text/html"}], "body": "<p>hello</p>\n"},
    ),
    ("Response", {"status": 503, "bodyFrom": {"configMapKeyRef": {"name": "pages", "key": "sorry.html"}}}),
    ("Response", {"status": 204}),
    ("Response", {"redirect": {"scheme": "https"}}),
    (
        "Response",
        {
            "redirect": {
                "scheme": "https",
                "hostname": "www.example.com",
                "port": 8443,
                "path": {"type": "ReplaceFullPath", "replaceFullPath": "/a%20b/c"},
                "statusCode": 308,
            }
        },
    ),
    ("Response", {"redirect": {"path": {"type": "ReplacePrefixMatch", "replacePrefixMatch": "/new"}}}),
]


def _policy(**parts: Any) -> Spec:
    return {**TARGET, **parts}


def _set(name: str, value: str = "x") -> Spec:
    return {"set": [{"name": name, "value": value}]}


BAD: list[tuple[str, Spec, str]] = [
    ("TrafficPolicy", {}, "spec"),
    ("TrafficPolicy", {"targetRefs": [{"kind": "Pod", "name": "a"}]}, "spec.targetRefs[0].kind"),
    ("TrafficPolicy", {"targetRefs": [{"kind": "Ingress"}]}, "spec.targetRefs[0].name"),
    ("TrafficPolicy", {"targetRefs": [{"kind": "Ingress", "name": "A"}]}, "spec.targetRefs[0].name"),
    ("TrafficPolicy", {"targetRefs": [{"kind": "Ingress", "name": "a", "group": ""}]}, "spec.targetRefs[0]"),
    ("TrafficPolicy", {"targetRefs": [{"kind": "Service", "name": "a", "group": "apps"}]}, "spec.targetRefs[0]"),
    ("TrafficPolicy", {"targetSelector": {"matchLabels": {"a": "b"}}}, "spec.targetSelector.kind"),
    ("TrafficPolicy", _policy(timeouts={"read": "5"}), "spec.timeouts.read"),
    ("TrafficPolicy", _policy(timeouts={"read": "1.5s"}), "spec.timeouts.read"),
    ("TrafficPolicy", _policy(timeouts={"read": "5s\n"}), "spec.timeouts.read"),
    ("TrafficPolicy", _policy(retries={"attempts": 11}), "spec.retries.attempts"),
    ("TrafficPolicy", _policy(retries={}), "spec.retries.attempts"),
    ("TrafficPolicy", _policy(limits={"bodySize": "8q"}), "spec.limits.bodySize"),
    ("TrafficPolicy", _policy(upstream={}), "spec.upstream"),
    ("TrafficPolicy", _policy(upstream={"tls": {}}), "spec.upstream"),
    ("TrafficPolicy", _policy(upstream={"protocol": "HTTP", "tls": {}}), "spec.upstream"),
    ("TrafficPolicy", _policy(upstream={"protocol": "GRPC", "tls": {}}), "spec.upstream"),
    ("TrafficPolicy", _policy(upstream={"protocol": "FCGI"}), "spec.upstream.protocol"),
    *(
        ("TrafficPolicy", _policy(upstream={"protocol": "HTTPS", "tls": tls}), f"spec.upstream.tls{place}")
        for tls, place in (
            ({"minVersion": "1.3", "maxVersion": "1.2"}, ""),
            ({"minVersion": "1.1"}, ".minVersion"),
            ({"caCertificateRef": {"kind": "Pod", "name": "a"}}, ".caCertificateRef.kind"),
            ({"caCertificateRef": {}}, ".caCertificateRef.name"),
            ({"clientCertificateRef": {"name": "a/b"}}, ".clientCertificateRef.name"),
            ({"serverName": "*.example.com"}, ".serverName"),
            ({"verifyDepth": 101}, ".verifyDepth"),
            ({"ciphers": "ALL:@SECLEVEL=0"}, ".ciphers"),
        )
    ),
    ("TrafficPolicy", _policy(limits={"requests": -1}), "spec.limits.requests"),
    ("TrafficPolicy", _policy(limits={"bodySize": "-1"}), "spec.limits.bodySize"),
    *(
        ("TrafficPolicy", _policy(requestHeaders=_set(name)), "spec.requestHeaders.set[0].name")
        for name in (
            "Host",
            "content-length",
            "Transfer-Encoding",
            "CONNECTION",
            "Upgrade",
            "TE",
            "Content_Length",
            "a b",
            "a:",
            "ä",
            "",
        )
    ),
    *(
        ("TrafficPolicy", _policy(responseHeaders=_set("X-A", value)), "spec.responseHeaders.set[0].value")
        for value in ("a\r\nX-B: c", "a\nb", "a\x00", " a", "a ", "ä", "")
    ),
    ("TrafficPolicy", _policy(requestHeaders={"remove": ["host"]}), "spec.requestHeaders.remove[0]"),
    ("TrafficPolicy", _policy(requestHeaders={"add": [{"name": "X-A"}]}), "spec.requestHeaders.add[0].value"),
    (
        "TrafficPolicy",
        _policy(requestHeaders={"add": [{"name": "X-A", "value": "a"}, {"name": "X-A", "value": "b"}]}),
        "spec.requestHeaders.add[1]",
    ),
    ("TrafficPolicy", _policy(cors={"allowOrigins": []}), "spec.cors.allowOrigins"),
    ("TrafficPolicy", _policy(cors={"allowOrigins": ["a.example.com"]}), "spec.cors.allowOrigins[0]"),
    ("TrafficPolicy", _policy(cors={"allowOrigins": ["https://a.example.com/"]}), "spec.cors.allowOrigins[0]"),
    ("TrafficPolicy", _policy(cors={"allowMethods": ["GET, PUT"]}), "spec.cors.allowMethods[0]"),
    ("TrafficPolicy", _policy(cors={"maxAge": "1d"}), "spec.cors.maxAge"),
    ("TrafficPolicy", _policy(rateLimit={"per": "Second"}), "spec.rateLimit.requests"),
    ("TrafficPolicy", _policy(rateLimit={"requests": 0}), "spec.rateLimit.requests"),
    ("TrafficPolicy", _policy(rateLimit={"requests": 1, "per": "Day"}), "spec.rateLimit.per"),
    ("TrafficPolicy", _policy(rateLimit={"requests": 1, "statusCode": 200}), "spec.rateLimit.statusCode"),
    ("TrafficPolicy", _policy(access={}), "spec.access"),
    ("TrafficPolicy", _policy(access={"allow": ["example.com"]}), "spec.access.allow[0]"),
    ("TrafficPolicy", _policy(access={"deny": ["10.0.0.0/255.0.0.0"]}), "spec.access.deny[0]"),
    ("TrafficPolicy", _policy(balancing={"method": "Hash"}), "spec.balancing"),
    ("TrafficPolicy", _policy(balancing={"method": "EWMA", "hashBy": [{"source": "Path"}]}), "spec.balancing"),
    (
        "TrafficPolicy",
        _policy(balancing={"method": "Hash", "hashBy": [{"source": "Header"}]}),
        "spec.balancing.hashBy[0]",
    ),
    (
        "TrafficPolicy",
        _policy(balancing={"method": "Hash", "hashBy": [{"source": "Path", "name": "a"}]}),
        "spec.balancing.hashBy[0]",
    ),
    ("TrafficPolicy", _policy(balancing={"method": "Hash", "hashBy": []}), "spec.balancing.hashBy"),
    ("TrafficPolicy", _policy(affinity={}), "spec.affinity.cookie"),
    ("TrafficPolicy", _policy(affinity={"cookie": {"name": "a=b"}}), "spec.affinity.cookie.name"),
    ("TrafficPolicy", _policy(affinity={"cookie": {"path": "/; Domain=x"}}), "spec.affinity.cookie.path"),
    ("TrafficPolicy", _policy(affinity={"cookie": {"sameSite": "none"}}), "spec.affinity.cookie.sameSite"),
    ("TrafficPolicy", _policy(ejection={"maxPercent": 101}), "spec.ejection.maxPercent"),
    ("IngressClassParameters", {"trustedProxies": ["all"]}, "spec.trustedProxies[0]"),
    ("IngressClassParameters", {"tls": {"minVersion": "1.1"}}, "spec.tls.minVersion"),
    ("IngressClassParameters", {"tls": {}}, "spec.tls"),
    ("IngressClassParameters", {"tls": {"hsts": {"maxAge": "a year"}}}, "spec.tls.hsts.maxAge"),
    ("IngressClassParameters", {"accessLog": {"format": "json"}}, "spec.accessLog.format"),
    ("IngressClassParameters", {"limits": {"headerFields": 0}}, "spec.limits.headerFields"),
    ("IngressClassParameters", {"defaultBackend": {"namespace": "a", "name": "b"}}, "spec.defaultBackend.port"),
    (
        "IngressClassParameters",
        {"defaultBackend": {"namespace": "a", "name": "b", "port": "a_b"}},
        "spec.defaultBackend.port",
    ),
    ("IngressClassParameters", {"defaultCertificate": {"namespace": "a"}}, "spec.defaultCertificate.name"),
    ("Response", {}, "spec"),
    ("Response", {"status": 200, "redirect": {"scheme": "https"}}, "spec"),
    ("Response", {"redirect": {"scheme": "https"}, "body": "a"}, "spec"),
    ("Response", {"status": 100}, "spec.status"),
    ("Response", {"status": 600}, "spec.status"),
    ("Response", {"status": 204, "body": "a"}, "spec"),
    (
        "Response",
        {"status": 200, "body": "a", "bodyFrom": {"configMapKeyRef": {"name": "a", "key": "b"}}},
        "spec",
    ),
    ("Response", {"status": 200, "bodyFrom": {}}, "spec.bodyFrom.configMapKeyRef"),
    ("Response", {"status": 200, "headers": [{"name": "Content-Length", "value": "1"}]}, "spec.headers[0].name"),
    ("Response", {"redirect": {}}, "spec.redirect"),
    ("Response", {"redirect": {"scheme": "ftp"}}, "spec.redirect.scheme"),
    ("Response", {"redirect": {"hostname": "a.example.com/b"}}, "spec.redirect.hostname"),
    ("Response", {"redirect": {"scheme": "https", "statusCode": 304}}, "spec.redirect"),
    ("Response", {"redirect": {"path": {"type": "ReplaceFullPath"}}}, "spec.redirect.path"),
    (
        "Response",
        {"redirect": {"path": {"type": "ReplaceFullPath", "replaceFullPath": "//evil.example.com"}}},
        "spec.redirect.path.replaceFullPath",
    ),
    (
        "Response",
        {"redirect": {"path": {"type": "ReplacePrefixMatch", "replacePrefixMatch": "/a?b"}}},
        "spec.redirect.path.replacePrefixMatch",
    ),
]
"""Both the schema and the decoder refuse these."""

STRICTER: list[tuple[str, Spec, str]] = [
    ("TrafficPolicy", _policy(timeouts={"read": "0s"}), "spec.timeouts.read"),
    ("TrafficPolicy", _policy(timeouts={"read": "9000h"}), "spec.timeouts.read"),
    ("TrafficPolicy", _policy(limits={"bodySize": "9999999999g"}), "spec.limits.bodySize"),
    ("TrafficPolicy", _policy(access={"allow": ["10.0.0.0/33"]}), "spec.access.allow[0]"),
    ("TrafficPolicy", _policy(access={"allow": ["::1/129"]}), "spec.access.allow[0]"),
    ("TrafficPolicy", _policy(access={"allow": ["10.0.0.256"]}), "spec.access.allow[0]"),
    ("IngressClassParameters", {"limits": {"headerBytes": 0}}, "spec.limits.headerBytes"),
    ("IngressClassParameters", {"limits": {"requestLine": "2m"}}, "spec.limits.requestLine"),
    (
        "IngressClassParameters",
        {"defaultBackend": {"namespace": "a", "name": "b", "port": "70000"}},
        "spec.defaultBackend.port",
    ),
]
"""A schema has no words for these in Kubernetes 1.27: the decoder alone refuses them."""
