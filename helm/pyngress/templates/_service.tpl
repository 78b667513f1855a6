{{/* What the external and the internal Service share. Context: a dict of root and service. */}}
{{- define "pyngress.serviceSpec" -}}
{{- $values := .root.Values.controller -}}
{{- $outer := $values.service -}}
{{- $service := .service -}}
type: {{ $service.type }}
{{- with $service.clusterIP }}
clusterIP: {{ . }}
{{- end }}
{{- with $service.ipFamilyPolicy }}
ipFamilyPolicy: {{ . }}
{{- end }}
{{- with $service.ipFamilies }}
ipFamilies:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- if eq $service.type "LoadBalancer" }}
{{- with $service.loadBalancerClass }}
loadBalancerClass: {{ . }}
{{- end }}
{{- with $service.loadBalancerIP }}
loadBalancerIP: {{ . | quote }}
{{- end }}
{{- with $service.loadBalancerSourceRanges }}
loadBalancerSourceRanges:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}
{{- if and (ne $service.type "ClusterIP") $service.externalTrafficPolicy }}
externalTrafficPolicy: {{ $service.externalTrafficPolicy }}
{{- end }}
ports:
{{- range $name := list "http" "https" }}
{{- if ternary $outer.enableHttp $outer.enableHttps (eq $name "http") }}
  - name: {{ $name }}
    protocol: TCP
    port: {{ index $outer.ports $name | int }}
    targetPort: {{ index $outer.targetPorts $name }}
    {{- if $outer.appProtocol }}
    appProtocol: {{ $name }}
    {{- end }}
    {{- if ne $service.type "ClusterIP" }}
    {{- with index $service.nodePorts $name | int }}
    nodePort: {{ . }}
    {{- end }}
    {{- end }}
{{- end }}
{{- end }}
selector:
  {{- include "pyngress.selector" .root | nindent 2 }}
{{- end -}}
