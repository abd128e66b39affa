{{/*
For a Pod of another chart, of which this one is a dependency with sidecar.enabled:

    containers: # or, with sidecar.native, initContainers
      {{- include "middletier.sidecar.container" .Subcharts.middletier | nindent 8 }}
    volumes:
      {{- include "middletier.sidecar.volumes" .Subcharts.middletier | nindent 8 }}
*/}}
{{- define "middletier.sidecar.container" -}}
{{- if or .Values.tls.secretName .Values.metrics.enabled }}{{ fail "tls.secretName and metrics.enabled are for the chart's own Pods, not for a sidecar" }}{{ end -}}
- name: middletier
  image: {{ include "middletier.image" . }}
  imagePullPolicy: {{ .Values.image.pullPolicy }}
  args: [serve, --config, /etc/middletier/config.yaml]
  {{- if .Values.sidecar.native }}
  restartPolicy: Always # of initContainers: starts first, runs as long as the Pod
  {{- end }}
  env:
    {{- include "middletier.env" . | nindent 4 }}
  ports:
    - {name: sidecar, containerPort: {{ .Values.sidecar.port }}}
  {{- range list "startupProbe" "livenessProbe" }}
  {{ . }}: # the node may ask for /healthz, and for nothing else
    httpGet: {path: /healthz, port: sidecar}
    periodSeconds: {{ ternary 1 10 (eq . "startupProbe") }}
    timeoutSeconds: 3
    {{- if eq . "startupProbe" }}
    failureThreshold: 30
    {{- end }}
  {{- end }}
  resources: {{- toYaml .Values.resources | nindent 4 }}
  securityContext:
    runAsNonRoot: true
    runAsUser: 65532 # nonroot of the image
    runAsGroup: 65532
    allowPrivilegeEscalation: false
    readOnlyRootFilesystem: true
    capabilities: {drop: [ALL]}
    seccompProfile: {type: RuntimeDefault}
  volumeMounts:
    {{- include "middletier.mounts" . | nindent 4 }}
{{- end -}}

{{- define "middletier.sidecar.volumes" -}}
{{- include "middletier.volumes" . }}
{{- end -}}
