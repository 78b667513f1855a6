{{/*
Rules of roles. Each list is the least that its part of the controller needs:
- Ingresses, Services and EndpointSlices are listed and watched.
- Secrets and ConfigMaps are read by name, and watched by name: there is no right to list them.
- Nothing is written but statuses, Events, the Lease of the election, and the webhook's own Secret and caBundle.
*/}}

{{/* In every namespace that is served. */}}
{{- define "pyngress.rules.served" -}}
- apiGroups: [networking.k8s.io]
  resources: [ingresses]
  verbs: [get, list, watch]
- apiGroups: [""]
  resources: [services]
  verbs: [get, list, watch]
- apiGroups: [discovery.k8s.io]
  resources: [endpointslices]
  verbs: [get, list, watch]
- apiGroups: [pyngress.io]
  resources: [responses, trafficpolicies]
  verbs: [get, list, watch]
- apiGroups: [""]
  resources: [configmaps]
  verbs: [get, watch]
- apiGroups: [""]
  resources: [events]
  verbs: [create, patch]
{{- if .Values.controller.updateStatus }}
- apiGroups: [networking.k8s.io]
  resources: [ingresses/status]
  verbs: [patch]
- apiGroups: [pyngress.io]
  resources: [trafficpolicies/status]
  verbs: [patch]
{{- end }}
{{- end -}}

{{- define "pyngress.rules.secrets" -}}
- apiGroups: [""]
  resources: [secrets]
  verbs: {{ .Values.rbac.secrets.verbs | toJson }}
{{- end -}}

{{/* Of objects that are in no namespace. */}}
{{- define "pyngress.rules.cluster" -}}
- apiGroups: [networking.k8s.io]
  resources: [ingressclasses]
  verbs: [get, list, watch]
- apiGroups: [pyngress.io]
  resources: [ingressclassparameters]
  verbs: [get, list, watch]
{{- if and .Values.controller.scope.enabled .Values.controller.scope.namespaceSelector }}
- apiGroups: [""]
  resources: [namespaces]
  verbs: [list, watch]
{{- end }}
{{- if include "pyngress.publishesNodes" . }}
- apiGroups: [""]
  resources: [nodes]
  verbs: [get]
{{- end }}
{{- if .Values.controller.admissionWebhooks.enabled }}
- apiGroups: [admissionregistration.k8s.io]
  resources: [validatingwebhookconfigurations]
  resourceNames: [{{ include "pyngress.webhookName" . }}]
  verbs: [get, patch]
{{- end }}
{{- end -}}

{{/* In the controller's own namespace. "create" cannot be bound to a name; the Secret is made by the chart. */}}
{{- define "pyngress.rules.own" -}}
{{- if .Values.controller.leaderElection }}
- apiGroups: [coordination.k8s.io]
  resources: [leases]
  resourceNames: [{{ include "pyngress.electionID" . }}]
  verbs: [get, update]
- apiGroups: [coordination.k8s.io]
  resources: [leases]
  verbs: [create]
{{- end }}
{{- if .Values.controller.admissionWebhooks.enabled }}
- apiGroups: [""]
  resources: [secrets]
  resourceNames: [{{ include "pyngress.webhookName" . }}-webhook]
  verbs: [get, update]
{{- end }}
{{- if .Values.controller.updateStatus }}
{{- /* Whether this pod ends alone or the controller is taken away; and on which nodes its pods are. */}}
- apiGroups: [""]
  resources: [pods]
  verbs: [get, list]
- apiGroups: [apps]
  resources: [{{ ternary "daemonsets" "deployments" (eq .Values.controller.kind "DaemonSet") }}]
  resourceNames: [{{ include "pyngress.fullname" . }}]
  verbs: [get]
{{- end }}
{{- end -}}

{{/* Where a Service outside the served namespaces is named: the published one, the default backend. */}}
{{- define "pyngress.rules.named" -}}
- apiGroups: [""]
  resources: [services]
  verbs: [get, list, watch]
- apiGroups: [discovery.k8s.io]
  resources: [endpointslices]
  verbs: [get, list, watch]
{{- end -}}
