{{- define "drover.frontendEnvironment" -}}
{{- $frontend := .Values.frontend }}
- name: DROVER_FRONTEND_LISTEN
  value: "{{ .Values.listenHost }}:11434"
- name: DROVER_FRONTEND_WORKERS
  value: {{ include "drover.places" . | quote }}
{{- if .Values.hosts.enabled }}
- name: DROVER_FRONTEND_HOSTS
  value: {{ include "drover.hostPlaces" . | quote }}
{{- end }}
- name: DROVER_FRONTEND_REQUEST_TIMEOUT_SECONDS
  value: "{{ int .Values.longestStreamSeconds }}"
- name: DROVER_FRONTEND_SHUTDOWN_GRACE_SECONDS
  value: "{{ int .Values.longestStreamSeconds }}"
- name: DROVER_FRONTEND_DATABASE_URL
  {{- if .Values.database.existingSecret.name }}
  valueFrom:
    secretKeyRef:
      name: {{ .Values.database.existingSecret.name }}
      key: {{ .Values.database.existingSecret.key }}
  {{- else if .Values.database.url }}
  valueFrom:
    secretKeyRef:
      name: {{ include "drover.fullname" . }}-database
      key: url
  {{- else }}
  value: sqlite:////var/lib/drover/presets.sqlite3
  {{- end }}
{{- if .Values.keys.require }}
- name: DROVER_FRONTEND_REQUIRE_KEYS
  value: "true"
{{- end }}
{{- if .Values.keys.existingSecret }}
- name: DROVER_FRONTEND_KEYS_FILE
  value: /etc/drover/keys
{{- end }}
{{- if include "drover.https" . }}
- name: DROVER_FRONTEND_TLS_CERTIFICATE
  value: /etc/drover/https/tls.crt
- name: DROVER_FRONTEND_TLS_KEY
  value: /etc/drover/https/tls.key
{{- end }}
{{- if .Values.tls.enabled }}
{{ include "drover.fleetTlsEnvironment" "DROVER_FRONTEND_" }}
{{- end }}
{{- if gt (int (include "drover.mostFrontends" .)) 1 }}
# The database of a Secret is not known here: a frontend refuses to start on one that is not shared.
- name: DROVER_FRONTEND_SHARED_DATABASE
  value: "true"
{{- end }}
{{- with include "drover.settings" (dict "prefix" "DROVER_FRONTEND_" "settings" $frontend.settings) | trim }}
{{- . | nindent 0 }}
{{- end }}
{{- with $frontend.env }}
{{- toYaml . | nindent 0 }}
{{- end }}
{{- end -}}
