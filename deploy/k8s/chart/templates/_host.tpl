{{/* Worker hosts, which load models on demand. */}}

{{- define "drover.host" -}}
{{ include "drover.fullname" . }}-host
{{- end -}}

{{- define "drover.hostSelector" -}}
{{ include "drover.selector" . }}
app.kubernetes.io/component: host
{{- end -}}

{{- define "drover.hostLabels" -}}
{{ include "drover.labels" . }}
app.kubernetes.io/component: host
{{- end -}}

{{/* Where frontends find hosts: the setting --hosts. */}}
{{- define "drover.hostPlaces" -}}
{{- if eq .Values.discovery "endpointslices" -}}
{{ printf "k8s:%s.%s:grpc" (include "drover.host" .) .Release.Namespace }}
{{- else -}}
{{ printf "dns:%s:50061" (include "drover.host" .) }}
{{- end -}}
{{- end -}}

{{- define "drover.hostEnvironment" -}}
{{- $hosts := .Values.hosts -}}
- name: DROVER_HOST_LISTEN
  value: "{{ .Values.listenHost }}:50061"
- name: DROVER_HOST_WORKER_PORTS
  value: "50100-50163"
- name: DROVER_HOST_STORE
  value: /var/lib/drover/models
- name: DROVER_HOST_DRAIN_SECONDS
  value: "{{ int .Values.longestStreamSeconds }}"
{{- if .Values.metrics.enabled }}
- name: DROVER_HOST_METRICS_LISTEN
  value: "{{ .Values.listenHost }}:{{ int .Values.metrics.port }}"
{{- end }}
{{- with $hosts.memoryMib }}
- name: DROVER_HOST_MEMORY_MIB
  value: "{{ int . }}"
{{- end }}
{{- if .Values.tls.enabled }}
{{ include "drover.fleetTlsEnvironment" "DROVER_HOST_" }}
{{- end }}
{{- with include "drover.settings" (dict "prefix" "DROVER_HOST_" "settings" $hosts.settings) | trim }}
{{ . }}
{{- end }}
{{- with $hosts.registrySecret }}
- name: DOCKER_CONFIG
  value: /etc/drover/registry
{{- end }}
{{- with $hosts.hubTokenSecret.name }}
- name: HF_TOKEN
  valueFrom:
    secretKeyRef:
      name: {{ . }}
      key: {{ $hosts.hubTokenSecret.key }}
{{- end }}
# The root file system cannot be written.
- name: HOME
  value: /tmp
- name: XDG_CACHE_HOME
  value: /tmp/cache
{{- with $hosts.env }}
{{ toYaml . }}
{{- end }}
{{- end -}}
