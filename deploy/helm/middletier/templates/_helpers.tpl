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
{{- if .Values.sidecar.enabled -}}
{{- $_ := set $server "address" "off" -}}
{{- $_ := set $server "sidecarAddress" (printf ":%d" (int .Values.sidecar.port)) -}}
{{- $_ := set $server "adminAddress" .Values.sidecar.adminAddress -}}
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

{{/* The parts of a container and its volumes. */}}
{{- define "middletier.image" -}}
"{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}"
{{- end -}}

{{- define "middletier.volumePrefix" -}}
{{- if .Values.sidecar.enabled }}middletier-{{ end -}}
{{- end -}}

{{- define "middletier.env" -}}
{{- with .Values.resources.limits }}
{{- /* nine tenths: not all of a process is Go's heap */}}
{{- if hasSuffix "Mi" (toString .memory) }}
- {name: GOMEMLIMIT, value: "{{ mulf (trimSuffix "Mi" .memory | float64) 0.9 | floor | int64 }}MiB"}
{{- else if hasSuffix "Gi" (toString .memory) }}
- {name: GOMEMLIMIT, value: "{{ mulf (trimSuffix "Gi" .memory | float64) 921.6 | floor | int64 }}MiB"}
{{- end }}
{{- end }}
{{- with .Values.env }}
{{- toYaml . | nindent 0 }}
{{- end }}
{{- end -}}

{{- define "middletier.mounts" -}}
{{- $prefix := include "middletier.volumePrefix" . }}
- {name: {{ $prefix }}config, mountPath: /etc/middletier, readOnly: true}
{{- range $name, $_ := .Values.secrets }}
- {name: {{ $prefix }}secret-{{ $name }}, mountPath: /run/secrets/{{ $name }}, readOnly: true}
{{- end }}
{{- if .Values.tls.secretName }}
- {name: tls, mountPath: /run/tls, readOnly: true}
{{- end }}
{{- with .Values.volumeMounts }}
{{- toYaml . | nindent 0 }}
{{- end }}
{{- end -}}

{{- define "middletier.volumes" -}}
{{- $prefix := include "middletier.volumePrefix" . }}
{{- /* in a Pod of another chart, fsGroup is not ours to set */}}
{{- $mode := ternary "0444" "0440" .Values.sidecar.enabled }}
- name: {{ $prefix }}config
  configMap: {name: {{ include "middletier.name" . }}}
{{- range $name, $secret := .Values.secrets }}
- name: {{ $prefix }}secret-{{ $name }}
  secret: {secretName: {{ $secret }}, defaultMode: {{ $mode }}}
{{- end }}
{{- with .Values.tls.secretName }}
- name: tls
  secret: {secretName: {{ . }}, defaultMode: 0440}
{{- end }}
{{- with .Values.volumes }}
{{- toYaml . | nindent 0 }}
{{- end }}
{{- end -}}
