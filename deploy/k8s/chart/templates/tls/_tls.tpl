{{/* Certificates: names of Secrets, volumes, and what needs them. */}}

{{- define "drover.https" -}}
{{- if and .Values.tls.enabled .Values.tls.https.enabled -}}yes{{- end -}}
{{- end -}}

{{/* Whether certificates of the fleet are made by cert-manager. */}}
{{- define "drover.ownAuthority" -}}
{{- if and .Values.tls.enabled (not .Values.tls.fleet.frontendSecret) -}}yes{{- end -}}
{{- end -}}

{{- define "drover.authority" -}}
{{ include "drover.fullname" . }}-authority
{{- end -}}

{{- define "drover.httpsSecret" -}}
{{ .Values.tls.https.secret | default (printf "%s-https" (include "drover.fullname" .)) }}
{{- end -}}

{{- define "drover.frontendSecret" -}}
{{ .Values.tls.fleet.frontendSecret | default (printf "%s-frontend-tls" (include "drover.fullname" .)) }}
{{- end -}}

{{- define "drover.workerSecret" -}}
{{ .Values.tls.fleet.workerSecret | default (printf "%s-worker-tls" (include "drover.fullname" .)) }}
{{- end -}}

{{/* Of a tier's prefix of variables. */}}
{{- define "drover.fleetTlsEnvironment" -}}
- name: {{ . }}FLEET_TLS_CERTIFICATE
  value: /etc/drover/fleet/tls.crt
- name: {{ . }}FLEET_TLS_KEY
  value: /etc/drover/fleet/tls.key
- name: {{ . }}FLEET_TLS_AUTHORITY
  value: /etc/drover/fleet/ca.crt
{{- end -}}

{{/* Of (name, secret). Pods' group reads the key; the folder is mounted as a whole, since files mounted by subPath never
     change. */}}
{{- define "drover.tlsVolume" -}}
- name: {{ .name }}
  secret:
    secretName: {{ .secret }}
    defaultMode: 0440
{{- end -}}

{{- define "drover.tlsMount" -}}
- name: {{ . }}-tls
  mountPath: /etc/drover/{{ . }}
  readOnly: true
{{- end -}}

{{- define "drover.checkTls" -}}
{{- $tls := .Values.tls -}}
{{- if and $tls.enabled (ne (empty $tls.fleet.frontendSecret) (empty $tls.fleet.workerSecret)) -}}
{{- fail "tls.fleet: set both frontendSecret and workerSecret, or neither for certificates of cert-manager" -}}
{{- end -}}
{{- if and (include "drover.https" .) $tls.fleet.frontendSecret (not $tls.https.secret) (not $tls.https.issuer.name) -}}
{{- fail "tls.https needs secret or issuer.name where tls.fleet names Secrets of your own: there is no authority that could sign it" -}}
{{- end -}}
{{- if and $tls.enabled .Values.metrics.enabled (eq (int .Values.metrics.port) 50052) -}}
{{- fail "metrics.port is 50052, where workers with TLS answer health checks" -}}
{{- end -}}
{{- end -}}
