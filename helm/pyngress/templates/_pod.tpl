{{/* The template of the controller's pods, the same for Deployment and DaemonSet. */}}
{{- define "pyngress.pod" -}}
{{- $values := .Values.controller -}}
metadata:
  labels:
    {{- include "pyngress.selector" . | nindent 4 }}
    {{- with .Values.commonLabels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
    {{- with $values.podLabels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  {{- with $values.podAnnotations }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
spec:
  serviceAccountName: {{ include "pyngress.serviceAccountName" . }}
  automountServiceAccountToken: {{ .Values.serviceAccount.automountServiceAccountToken }}
  {{- with .Values.imagePullSecrets }}
  imagePullSecrets:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  terminationGracePeriodSeconds: {{ include "pyngress.terminationGracePeriodSeconds" . }}
  {{- if $values.hostNetwork }}
  hostNetwork: true
  {{- end }}
  dnsPolicy: {{ default (ternary "ClusterFirstWithHostNet" "ClusterFirst" $values.hostNetwork) $values.dnsPolicy }}
  {{- with $values.dnsConfig }}
  dnsConfig:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $values.hostAliases }}
  hostAliases:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $values.priorityClassName }}
  priorityClassName: {{ . }}
  {{- end }}
  {{- with $values.runtimeClassName }}
  runtimeClassName: {{ . }}
  {{- end }}
  securityContext:
    {{- include "pyngress.podSecurityContext" . | nindent 4 }}
  {{- with $values.extraInitContainers }}
  initContainers:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  containers:
    - name: controller
      image: {{ include "pyngress.image" (dict "image" .Values.image "appVersion" .Chart.AppVersion) | quote }}
      imagePullPolicy: {{ .Values.image.pullPolicy }}
      {{- if and $values.hostNetwork (include "pyngress.privilegedPorts" .) }}
      # The same interpreter with the file capability NET_BIND_SERVICE: see the Dockerfile.
      command: [/opt/pyngress/bin/python-bind, -m, ingress]
      {{- end }}
      args:
        {{- include "pyngress.args" . | nindent 8 }}
      env:
        - name: POD_NAME
          valueFrom:
            fieldRef:
              fieldPath: metadata.name
        - name: POD_NAMESPACE
          valueFrom:
            fieldRef:
              fieldPath: metadata.namespace
        {{- with $values.extraEnvs }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
      ports:
        - name: http
          containerPort: {{ $values.containerPort.http | int }}
          protocol: TCP
          {{- if and $values.hostPort.enabled (not $values.hostNetwork) }}
          hostPort: {{ $values.hostPort.ports.http | int }}
          {{- end }}
        - name: https
          containerPort: {{ $values.containerPort.https | int }}
          protocol: TCP
          {{- if and $values.hostPort.enabled (not $values.hostNetwork) }}
          hostPort: {{ $values.hostPort.ports.https | int }}
          {{- end }}
        - name: metrics
          containerPort: {{ $values.metrics.port | int }}
          protocol: TCP
        {{- if $values.admissionWebhooks.enabled }}
        - name: webhook
          containerPort: {{ $values.admissionWebhooks.port | int }}
          protocol: TCP
        {{- end }}
      securityContext:
        {{- toYaml $values.containerSecurityContext | nindent 8 }}
      {{- range $name := list "startupProbe" "livenessProbe" "readinessProbe" "lifecycle" "resources" }}
      {{- with index $values $name }}
      {{ $name }}:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- end }}
      {{- with $values.extraVolumeMounts }}
      volumeMounts:
        {{- toYaml . | nindent 8 }}
      {{- end }}
    {{- with $values.extraContainers }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  {{- with $values.extraVolumes }}
  volumes:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $values.nodeSelector }}
  nodeSelector:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $values.tolerations }}
  tolerations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $values.affinity }}
  affinity:
    {{- tpl (toYaml .) $ | nindent 4 }}
  {{- end }}
  {{- with $values.topologySpreadConstraints }}
  topologySpreadConstraints:
    {{- range . }}
    {{- $constraint := deepCopy . }}
    {{- if not $constraint.labelSelector }}
    {{- $_ := set $constraint "labelSelector" (dict "matchLabels" (include "pyngress.selector" $ | fromYaml)) }}
    {{- end }}
    - {{- toYaml $constraint | nindent 6 }}
    {{- end }}
  {{- end }}
{{- end -}}
