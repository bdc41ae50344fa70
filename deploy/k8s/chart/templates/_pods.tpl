{{/* What pods of both tiers have in common. */}}

{{- define "drover.podSecurity" -}}
runAsNonRoot: true
runAsUser: 10001
runAsGroup: 10001
fsGroup: 10001
fsGroupChangePolicy: OnRootMismatch
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{- define "drover.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
runAsNonRoot: true
runAsUser: 10001
capabilities:
  drop: [ALL]
{{- end -}}

{{/* Of (root, tier): where the pod may run, as its values say. */}}
{{- define "drover.scheduling" -}}
{{- with .root.Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .tier.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .tier.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .tier.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .tier.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- end -}}

{{/* Of labels: over zones and nodes as evenly as it goes, never at the price of not running. */}}
{{- define "drover.spread" -}}
topologySpreadConstraints:
  {{- range list "topology.kubernetes.io/zone" "kubernetes.io/hostname" }}
  - topologyKey: {{ . }}
    maxSkew: 1
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels:
        {{- $ | nindent 8 }}
  {{- end }}
{{- end -}}

{{/* Whole numbers come as floats. */}}
{{- define "drover.text" -}}
{{- if and (kindIs "float64" .) (eq (floor .) .) -}}
{{- int64 . -}}
{{- else -}}
{{- . -}}
{{- end -}}
{{- end -}}

{{/* Of (prefix, settings): environment variables. */}}
{{- define "drover.settings" -}}
{{- range $name, $value := .settings }}
- name: {{ printf "%s%s" $.prefix ($name | replace "-" "_" | upper) }}
  {{- if kindIs "slice" $value }}
  {{- $texts := list }}
  {{- range $value }}
  {{- $texts = append $texts (include "drover.text" .) }}
  {{- end }}
  value: {{ join "," $texts | quote }}
  {{- else }}
  value: {{ include "drover.text" $value | quote }}
  {{- end }}
{{- end }}
{{- end -}}

{{/* Of (root, load): an update waits for an old pod's streams, where that has the GPU or the volume, and then for the
     model. */}}
{{- define "drover.progressSeconds" -}}
{{- add (int .load) (int .root.Values.longestStreamSeconds) 300 -}}
{{- end -}}

{{/* Of all models. */}}
{{- define "drover.longestLoad" -}}
{{- $longest := 0 -}}
{{- range include "drover.models" . | fromJsonArray -}}
{{- $longest = max $longest (int .loadBudgetSeconds) -}}
{{- end -}}
{{- $longest -}}
{{- end -}}

{{/* Of (prestop, root): time for the answers that a pod has. */}}
{{- define "drover.graceSeconds" -}}
{{- add (int .prestop) (int .root.Values.longestStreamSeconds) 30 -}}
{{- end -}}
