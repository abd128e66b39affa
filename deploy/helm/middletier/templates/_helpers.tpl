{{- define "middletier.name" -}}
{{- if contains .Chart.Name .Release.Name -}}{{ .Release.Name | trunc 53 | trimSuffix "-" }}
{{- else -}}{{ printf "%s-%s" .Release.Name .Chart.Name | trunc 53 | trimSuffix "-" }}{{- end -}}
{{- end -}}

{{- define "middletier.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "middletier.labels" -}}
{{ include "middletier.selector" . }}
app.kubernetes.io/version: {{ .Values.image.tag | default .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end -}}

{{- define "middletier.serviceAccount" -}}
{{ .Values.serviceAccount.name | default (include "middletier.name" .) }}
{{- end -}}

{{/* config.yaml: the user's, with what the chart decides. */}}
{{- define "middletier.config" -}}
{{- $server := dict "address" ":8080" "adminAddress" (ternary ":8081" "127.0.0.1:8081" .Values.metrics.enabled) "shutdownGrace" (printf "%ds" (int .Values.shutdownGraceSeconds)) -}}
{{- if .Values.tls.secretName -}}
{{- $_ := set $server "tls" (dict "certFile" "/run/tls/tls.crt" "keyFile" "/run/tls/tls.key") -}}
{{- end -}}
{{- $config := deepCopy .Values.config -}}
{{- $_ := set $config "server" (mergeOverwrite (default dict $config.server) $server) -}}
{{ toYaml $config }}
{{- end -}}

{{/* Probes go to the admin listener where the kubelet reaches it, so that callers cannot crowd them out. */}}
{{- define "middletier.probe" -}}
{{- if .Values.metrics.enabled }}
port: admin
{{- else }}
port: http
{{- if .Values.tls.secretName }}
scheme: HTTPS
{{- end }}
{{- end }}
{{- end -}}
