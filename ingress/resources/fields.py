"""Every field of the kinds that Pyngress reads, also those that it does not use: a valid manifest has no unknown field.

Kubernetes API reference: meta/v1 ObjectMeta, core/v1, discovery/v1, networking/v1 and their older versions.
"""

from __future__ import annotations

from typing import Final

from ingress.resources.shape import ANY, BOOL, INT, INT_OR_STR, STR, ListOf, MapOf, Record, Shape

__all__ = [
    "CONFIG_MAP",
    "ENDPOINTS",
    "ENDPOINT_SLICE",
    "ENDPOINT_SLICE_V1BETA1",
    "INGRESS",
    "INGRESS_CLASS",
    "INGRESS_V1BETA1",
    "METADATA",
    "SECRET",
    "SERVICE",
    "SERVICE_SPEC",
]

_OWNER_REFERENCE: Final = Record(
    {"apiVersion": STR, "kind": STR, "name": STR, "uid": STR, "controller": BOOL, "blockOwnerDeletion": BOOL}
)

_MANAGED_FIELDS: Final = Record(
    {
        "manager": STR,
        "operation": STR,
        "apiVersion": STR,
        "time": STR,
        "fieldsType": STR,
        "fieldsV1": ANY,
        "subresource": STR,
    }
)

METADATA: Final = Record(
    {
        "name": STR,
        "generateName": STR,
        "namespace": STR,
        "selfLink": STR,
        "uid": STR,
        "resourceVersion": STR,
        "generation": INT,
        "creationTimestamp": STR,
        "deletionTimestamp": STR,
        "deletionGracePeriodSeconds": INT,
        "labels": MapOf(STR),
        "annotations": MapOf(STR),
        "ownerReferences": ListOf(_OWNER_REFERENCE),
        "finalizers": ListOf(STR),
        "managedFields": ListOf(_MANAGED_FIELDS),
        "clusterName": STR,  # gone since Kubernetes 1.24, but still in old dumps
    }
)

_OBJECT_REFERENCE: Final = Record(
    {
        "kind": STR,
        "namespace": STR,
        "name": STR,
        "uid": STR,
        "apiVersion": STR,
        "resourceVersion": STR,
        "fieldPath": STR,
    }
)

_LOAD_BALANCER: Final = Record(
    {
        "ingress": ListOf(
            Record(
                {
                    "ip": STR,
                    "hostname": STR,
                    "ipMode": STR,
                    "ports": ListOf(Record({"port": INT, "protocol": STR, "error": STR})),
                }
            )
        )
    }
)

_CONDITION: Final = Record(
    {
        "type": STR,
        "status": STR,
        "observedGeneration": INT,
        "lastTransitionTime": STR,
        "reason": STR,
        "message": STR,
    }
)


def _object(fields: dict[str, Shape], hints: dict[str, str] | None = None) -> Record:
    return Record({"apiVersion": STR, "kind": STR, "metadata": METADATA, **fields}, hints or {})


_TLS: Final = ListOf(Record({"hosts": ListOf(STR), "secretName": STR}))
_RESOURCE: Final = Record({"apiGroup": STR, "kind": STR, "name": STR})
_OLD: Final = "that is the form of v1beta1; networking.k8s.io/v1 has "

_BACKEND: Final = Record(
    {
        "service": Record({"name": STR, "port": Record({"name": STR, "number": INT})}),
        "resource": _RESOURCE,
    },
    {
        "serviceName": _OLD + '"service.name"',
        "servicePort": _OLD + '"service.port.number" or "service.port.name"',
    },
)

_BACKEND_V1BETA1: Final = Record(
    {"serviceName": STR, "servicePort": INT_OR_STR, "resource": _RESOURCE},
    {"service": 'v1beta1 has "serviceName" and "servicePort"'},
)


def _rules(backend: Record) -> ListOf:
    path = Record({"path": STR, "pathType": STR, "backend": backend})
    return ListOf(Record({"host": STR, "http": Record({"paths": ListOf(path)})}))


INGRESS: Final = _object(
    {
        "spec": Record(
            {"ingressClassName": STR, "defaultBackend": _BACKEND, "tls": _TLS, "rules": _rules(_BACKEND)},
            {"backend": _OLD + '"defaultBackend"'},
        ),
        "status": Record({"loadBalancer": _LOAD_BALANCER}),
    }
)

INGRESS_V1BETA1: Final = _object(
    {
        "spec": Record(
            {
                "ingressClassName": STR,
                "backend": _BACKEND_V1BETA1,
                "tls": _TLS,
                "rules": _rules(_BACKEND_V1BETA1),
            },
            {"defaultBackend": 'v1beta1 has "backend"'},
        ),
        "status": Record({"loadBalancer": _LOAD_BALANCER}),
    }
)

INGRESS_CLASS: Final = _object(
    {
        "spec": Record(
            {
                "controller": STR,
                "parameters": Record({"apiGroup": STR, "kind": STR, "name": STR, "scope": STR, "namespace": STR}),
            }
        )
    }
)

SERVICE_SPEC: Final = Record(
    {
        "ports": ListOf(
            Record(
                {
                    "name": STR,
                    "protocol": STR,
                    "appProtocol": STR,
                    "port": INT,
                    "targetPort": INT_OR_STR,
                    "nodePort": INT,
                }
            )
        ),
        "selector": MapOf(STR),
        "clusterIP": STR,
        "clusterIPs": ListOf(STR),
        "type": STR,
        "externalIPs": ListOf(STR),
        "sessionAffinity": STR,
        "loadBalancerIP": STR,
        "loadBalancerSourceRanges": ListOf(STR),
        "externalName": STR,
        "externalTrafficPolicy": STR,
        "healthCheckNodePort": INT,
        "publishNotReadyAddresses": BOOL,
        "sessionAffinityConfig": Record({"clientIP": Record({"timeoutSeconds": INT})}),
        "ipFamilies": ListOf(STR),
        "ipFamilyPolicy": STR,
        "allocateLoadBalancerNodePorts": BOOL,
        "loadBalancerClass": STR,
        "internalTrafficPolicy": STR,
        "trafficDistribution": STR,
    }
)

SERVICE: Final = _object(
    {
        "spec": SERVICE_SPEC,
        "status": Record({"loadBalancer": _LOAD_BALANCER, "conditions": ListOf(_CONDITION)}),
    }
)

_ENDPOINT_ADDRESS: Final = Record({"ip": STR, "hostname": STR, "nodeName": STR, "targetRef": _OBJECT_REFERENCE})

_ENDPOINT_PORT: Final = Record({"name": STR, "port": INT, "protocol": STR, "appProtocol": STR})

ENDPOINTS: Final = _object(
    {
        "subsets": ListOf(
            Record(
                {
                    "addresses": ListOf(_ENDPOINT_ADDRESS),
                    "notReadyAddresses": ListOf(_ENDPOINT_ADDRESS),
                    "ports": ListOf(_ENDPOINT_PORT),
                }
            )
        )
    }
)

CONFIG_MAP: Final = _object({"immutable": BOOL, "data": MapOf(STR), "binaryData": MapOf(STR)})

SECRET: Final = _object({"immutable": BOOL, "data": MapOf(STR), "stringData": MapOf(STR), "type": STR})

_SLICE_ENDPOINT: Final[dict[str, Shape]] = {
    "addresses": ListOf(STR),
    "conditions": Record({"ready": BOOL, "serving": BOOL, "terminating": BOOL}),
    "hostname": STR,
    "targetRef": _OBJECT_REFERENCE,
    "nodeName": STR,
    "hints": Record({"forZones": ListOf(Record({"name": STR})), "forNodes": ListOf(Record({"name": STR}))}),
}


def _slice(endpoint: dict[str, Shape]) -> Record:
    return _object(
        {
            "addressType": STR,
            "endpoints": ListOf(Record({**_SLICE_ENDPOINT, **endpoint})),
            "ports": ListOf(_ENDPOINT_PORT),
        }
    )


ENDPOINT_SLICE: Final = _slice({"zone": STR, "deprecatedTopology": MapOf(STR)})

ENDPOINT_SLICE_V1BETA1: Final = _slice({"topology": MapOf(STR)})
