{{/* What is worked out from the values for the pods of the controller. */}}

{{/* A JSON list of the namespaces that Roles are for; empty: the whole cluster. */}}
{{- define "pyngress.scopedNamespaces" -}}
{{- $scope := .Values.controller.scope -}}
{{- if and $scope.enabled (not $scope.namespaceSelector) -}}
{{- $one := default (include "pyngress.namespace" .) $scope.namespace -}}
{{- default (list $one) $scope.namespaces | uniq | sortAlpha | toJson -}}
{{- else -}}
[]
{{- end -}}
{{- end -}}

{{/* A JSON list of the namespaces whose Secrets may be read; empty: the whole cluster. */}}
{{- define "pyngress.secretNamespaces" -}}
{{- $named := .Values.rbac.secrets.namespaces -}}
{{- $scoped := include "pyngress.scopedNamespaces" . | fromJsonArray -}}
{{- $default := .Values.controller.defaultSSLCertificate -}}
{{- if and (not $named) (not $scoped) -}}
[]
{{- else -}}
{{- $all := default $scoped $named -}}
{{- with $default }}{{ $all = append $all (splitList "/" . | first) }}{{ end -}}
{{- $all | uniq | sortAlpha | toJson -}}
{{- end -}}
{{- end -}}

{{/* "namespace/name" of the Service whose addresses are published, or nothing. */}}
{{- define "pyngress.publishService" -}}
{{- $publish := .Values.controller.publishService -}}
{{- if and $publish.enabled $publish.pathOverride -}}
{{- $publish.pathOverride -}}
{{- else if and $publish.enabled .Values.controller.service.enabled (not .Values.controller.publishStatusAddresses) -}}
{{- printf "%s/%s" (include "pyngress.namespace" .) (include "pyngress.fullname" .) -}}
{{- end -}}
{{- end -}}

{{/* Not empty: the addresses of nodes are published. */}}
{{- define "pyngress.publishesNodes" -}}
{{- $values := .Values.controller -}}
{{- if and $values.updateStatus (not $values.publishStatusAddresses) (not (include "pyngress.publishService" .)) -}}true{{- end -}}
{{- end -}}

{{- define "pyngress.defaultBackendService" -}}
{{- if .Values.controller.defaultBackendService -}}
{{- .Values.controller.defaultBackendService -}}
{{- else if .Values.defaultBackend.enabled -}}
{{- printf "%s/%s-default-backend:http" (include "pyngress.namespace" .) (include "pyngress.fullname" .) -}}
{{- end -}}
{{- end -}}

{{/*
SIGTERM → delay → drain → the processes report and end (5 seconds at most) → nothing is left to kill.
At least 40 seconds: taking addresses out of the status of Ingresses may take 28.
*/}}
{{- define "pyngress.terminationGracePeriodSeconds" -}}
{{- $needed := add (ceil .Values.controller.shutdownDelay | int64) (ceil .Values.controller.drainTimeout | int64) -}}
{{- $given := .Values.controller.terminationGracePeriodSeconds -}}
{{- if kindIs "invalid" $given -}}
{{- max (add $needed 10) 40 -}}
{{- else if lt ($given | int64) (add $needed 5) -}}
{{- fail (printf "controller.terminationGracePeriodSeconds is %d, but shutdownDelay and drainTimeout need at least %d: pods would be killed with requests under way" ($given | int64) (add $needed 5)) -}}
{{- else -}}
{{- $given | int64 -}}
{{- end -}}
{{- end -}}

{{/* Not empty: a port below 1024 is listened on. */}}
{{- define "pyngress.privilegedPorts" -}}
{{- $port := .Values.controller.containerPort -}}
{{- if or (lt ($port.http | int) 1024) (lt ($port.https | int) 1024) -}}true{{- end -}}
{{- end -}}

{{- define "pyngress.podSecurityContext" -}}
{{- $context := deepCopy .Values.controller.podSecurityContext -}}
{{- $values := .Values.controller -}}
{{- if and $values.unprivilegedPorts (not $values.hostNetwork) (include "pyngress.privilegedPorts" .) -}}
{{- $sysctl := dict "name" "net.ipv4.ip_unprivileged_port_start" "value" "0" -}}
{{- $_ := set $context "sysctls" (append (default list $context.sysctls) $sysctl) -}}
{{- end -}}
{{- toYaml $context -}}
{{- end -}}

{{/* The arguments of `pyngress run`, one per line. */}}
{{- define "pyngress.args" -}}
{{- $values := .Values.controller -}}
- run
- --ingress-class={{ $values.ingressClassResource.name }}
- --controller-name={{ $values.ingressClassResource.controllerValue }}
{{- if $values.watchIngressWithoutClass }}
- --watch-ingress-without-class
{{- end }}
{{- range include "pyngress.scopedNamespaces" . | fromJsonArray }}
- --watch-namespace={{ . }}
{{- end }}
{{- if $values.scope.enabled }}
{{- with $values.scope.namespaceSelector }}
- {{ printf "--watch-namespace-selector=%s" . | quote }}
{{- end }}
{{- end }}
{{- with include "pyngress.publishService" . }}
- --publish-service={{ . }}
{{- end }}
{{- range $values.publishStatusAddresses }}
- --publish-status-address={{ . }}
{{- end }}
{{- if not $values.updateStatus }}
- --no-update-status
{{- end }}
{{- if $values.leaderElection }}
- --election-id={{ include "pyngress.electionID" . }}
{{- else }}
- --no-leader-election
{{- end }}
{{- if $values.admissionWebhooks.enabled }}
- --webhook-port={{ $values.admissionWebhooks.port | int }}
- --webhook-name={{ include "pyngress.webhookName" . }}
{{- end }}
{{- with $values.defaultSSLCertificate }}
- --default-ssl-certificate={{ . }}
{{- end }}
{{- with include "pyngress.defaultBackendService" . }}
- --default-backend={{ . }}
{{- end }}
- --http-port={{ $values.containerPort.http | int }}
- --https-port={{ $values.containerPort.https | int }}
- --admin-port={{ $values.metrics.port | int }}
- --workers={{ $values.workers }}
- --shutdown-delay={{ $values.shutdownDelay }}
- --drain-timeout={{ $values.drainTimeout }}
{{- range $values.trustedProxies }}
- --trusted-proxies={{ . }}
{{- end }}
{{- range $values.proxyProtocolFrom }}
- --proxy-protocol-from={{ . }}
{{- end }}
{{- if $values.accessLog.enabled }}
- --access-log-format={{ $values.accessLog.format }}
{{- else }}
- --no-access-log
{{- end }}
- --log-format={{ $values.log.format }}
- --log-level={{ $values.log.level }}
{{- range $flag, $value := $values.extraArgs }}
{{- if kindIs "bool" $value }}
- --{{ ternary "" "no-" $value }}{{ $flag }}
{{- else if kindIs "slice" $value }}
{{- range $value }}
- {{ printf "--%s=%v" $flag . | quote }}
{{- end }}
{{- else if kindIs "float64" $value }}
- --{{ $flag }}={{ if eq (floor $value) $value }}{{ $value | int64 }}{{ else }}{{ $value }}{{ end }}
{{- else }}
- {{ printf "--%s=%v" $flag $value | quote }}
{{- end }}
{{- end }}
{{- end -}}

{{/* What cannot work is refused here, with what to change. */}}
{{- define "pyngress.checkValues" -}}
{{- $values := .Values.controller -}}
{{- if and (not $values.leaderElection) (or (gt ($values.replicaCount | int) 1) $values.autoscaling.enabled (eq $values.kind "DaemonSet")) -}}
{{- fail "controller.leaderElection=false is for a single pod: set controller.kind=Deployment, replicaCount=1 and autoscaling.enabled=false" -}}
{{- end -}}
{{- if and $values.scope.enabled $values.scope.namespaceSelector (or $values.scope.namespace $values.scope.namespaces) -}}
{{- fail "controller.scope: give either namespaces or a namespaceSelector" -}}
{{- end -}}
{{- if .Values.rbac.scope -}}
{{- if or (not $values.scope.enabled) $values.scope.namespaceSelector -}}
{{- fail "rbac.scope=true needs controller.scope.enabled=true and no namespaceSelector: Roles are for named namespaces" -}}
{{- end -}}
{{- if $values.admissionWebhooks.enabled -}}
{{- fail "rbac.scope=true needs controller.admissionWebhooks.enabled=false: a webhook is configured for the whole cluster" -}}
{{- end -}}
{{- if $values.config -}}
{{- fail "rbac.scope=true and controller.config do not go together: IngressClassParameters are read with a ClusterRole; use controller.extraArgs" -}}
{{- end -}}
{{- if include "pyngress.publishesNodes" . -}}
{{- fail "rbac.scope=true allows no look at nodes: keep controller.publishService, give controller.publishStatusAddresses, or set controller.updateStatus=false" -}}
{{- end -}}
{{- end -}}
{{- $ports := list ($values.containerPort.http | int) ($values.containerPort.https | int) ($values.metrics.port | int) -}}
{{- if $values.admissionWebhooks.enabled }}{{ $ports = append $ports ($values.admissionWebhooks.port | int) }}{{ end -}}
{{- if ne (len $ports) (uniq $ports | len) -}}
{{- fail (printf "ports of the pod are taken twice: %s (controller.containerPort, metrics.port, admissionWebhooks.port)" (join ", " $ports)) -}}
{{- end -}}
{{- if and $values.config $values.ingressClassResource.parameters -}}
{{- fail "give either controller.config or controller.ingressClassResource.parameters" -}}
{{- end -}}
{{- if and $values.metrics.serviceMonitor.enabled (not $values.metrics.enabled) -}}
{{- fail "controller.metrics.serviceMonitor needs controller.metrics.enabled=true; or use podMonitor" -}}
{{- end -}}
{{- if and $values.metrics.serviceMonitor.enabled $values.metrics.podMonitor.enabled -}}
{{- fail "a serviceMonitor and a podMonitor would count everything twice: enable one" -}}
{{- end -}}
{{- if and $values.autoscaling.enabled (eq $values.kind "DaemonSet") -}}
{{- fail "controller.autoscaling is for controller.kind=Deployment" -}}
{{- end -}}
{{- end -}}
