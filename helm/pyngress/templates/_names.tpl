{{/* Names, labels and namespaces. */}}

{{- define "pyngress.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 40 | trimSuffix "-" -}}
{{- end -}}

{{/* Release and chart, or the chart alone where the release is named after it. Short enough for every suffix. */}}
{{- define "pyngress.fullname" -}}
{{- $name := include "pyngress.name" . -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- else if contains $name .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "pyngress.namespace" -}}
{{- default .Release.Namespace .Values.namespaceOverride -}}
{{- end -}}

{{- define "pyngress.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "pyngress.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{/* Names the configuration of the webhook and its Service; the Secret has "-webhook" behind it. */}}
{{- define "pyngress.webhookName" -}}
{{- include "pyngress.fullname" . }}-admission
{{- end -}}

{{- define "pyngress.electionID" -}}
{{- default (printf "%s-leader" (include "pyngress.fullname" .)) .Values.controller.electionID -}}
{{- end -}}

{{- define "pyngress.selector" -}}
app.kubernetes.io/name: {{ include "pyngress.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: controller
{{- end -}}

{{- define "pyngress.defaultBackend.selector" -}}
app.kubernetes.io/name: {{ include "pyngress.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: default-backend
{{- end -}}

{{- define "pyngress.commonLabels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/part-of: {{ include "pyngress.name" . }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "pyngress.labels" -}}
{{ include "pyngress.selector" . }}
{{ include "pyngress.commonLabels" . }}
{{- end -}}

{{- define "pyngress.defaultBackend.labels" -}}
{{ include "pyngress.defaultBackend.selector" . }}
{{ include "pyngress.commonLabels" . }}
{{- end -}}

{{/* The reference of an image. Context: a dict of image and appVersion. */}}
{{- define "pyngress.image" -}}
{{- $image := .image -}}
{{- with $image.registry }}{{ . }}/{{ end }}{{ $image.repository -}}
{{- if $image.digest }}@{{ $image.digest }}{{ else }}:{{ default .appVersion $image.tag }}{{ end -}}
{{- end -}}
