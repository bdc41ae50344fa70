{{/* Names, labels, images. */}}

{{/* At most 24 characters: a model's name, a group's number and a hash come after it, and labels have 63. Releases
     may be called 1.x, Services may not. */}}
{{- define "drover.fullname" -}}
{{- $release := .Release.Name | replace "." "-" -}}
{{- $name := ternary $release (printf "%s-drover" $release) (contains "drover" $release) -}}
{{- if regexMatch "^[0-9]" $name -}}
{{- $name = printf "drover-%s" $release -}}
{{- end -}}
{{- if gt (len $name) 24 -}}
{{- $name = printf "%s-%s" ($name | trunc 17 | trimSuffix "-") (sha256sum $name | trunc 6) -}}
{{- end -}}
{{- $name -}}
{{- end -}}

{{- define "drover.frontend" -}}
{{ include "drover.fullname" . }}-frontend
{{- end -}}

{{/* Of (root, model). */}}
{{- define "drover.worker" -}}
{{ include "drover.fullname" .root }}-{{ .model.name }}
{{- end -}}

{{- define "drover.selector" -}}
app.kubernetes.io/name: drover
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{/* Of objects, not of pods: a chart's new version alone must not restart workers. */}}
{{- define "drover.labels" -}}
{{ include "drover.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end -}}

{{- define "drover.frontendSelector" -}}
{{ include "drover.selector" . }}
app.kubernetes.io/component: frontend
{{- end -}}

{{- define "drover.frontendLabels" -}}
{{ include "drover.labels" . }}
app.kubernetes.io/component: frontend
{{- end -}}

{{/* Of (root, model). */}}
{{- define "drover.workerSelector" -}}
{{ include "drover.selector" .root }}
app.kubernetes.io/component: worker
drover-model: {{ .model.name }}
{{- end -}}

{{- define "drover.workerLabels" -}}
{{ include "drover.labels" .root }}
app.kubernetes.io/component: worker
drover-model: {{ .model.name }}
{{- end -}}

{{/* Of (root, image). */}}
{{- define "drover.image" -}}
{{- $image := get .root.Values.images .image -}}
{{- $name := printf "%s%s" .root.Values.imageRegistry $image.repository -}}
{{- if $image.digest -}}
{{ $name }}@{{ $image.digest }}
{{- else -}}
{{ $name }}:{{ $image.tag | default .root.Chart.AppVersion }}
{{- end -}}
{{- end -}}

{{/* The models, each with what it has by default, as JSON. */}}
{{- define "drover.models" -}}
{{- $models := list -}}
{{- range .Values.models -}}
{{- $models = append $models (mergeOverwrite (deepCopy $.Values.workerDefaults) (deepCopy .)) -}}
{{- end -}}
{{- toJson $models -}}
{{- end -}}

{{/* The name that metrics have, as Ollama shows it: always with a tag. */}}
{{- define "drover.metricsName" -}}
{{- $name := first .names | default "" -}}
{{- ternary $name (printf "%s:latest" $name) (contains ":" (last (splitList "/" $name))) -}}
{{- end -}}

{{/* Of (root, model). LeaderWorkerSet makes a Service of its own name for all pods of its groups. */}}
{{- define "drover.workerService" -}}
{{ include "drover.worker" . }}{{ if gt (int .model.nodes) 1 }}-leaders{{ end }}
{{- end -}}

{{/* Of (root, model): what autoscalers scale. */}}
{{- define "drover.scaleTarget" -}}
{{- if gt (int .model.nodes) 1 -}}
apiVersion: leaderworkerset.x-k8s.io/v1
kind: LeaderWorkerSet
{{- else -}}
apiVersion: apps/v1
kind: {{ .model.kind }}
{{- end }}
name: {{ include "drover.worker" . }}
{{- end -}}

{{/* Where frontends find workers: the setting --workers. */}}
{{- define "drover.places" -}}
{{- $places := list -}}
{{- range include "drover.models" . | fromJsonArray -}}
{{- $service := include "drover.workerService" (dict "root" $ "model" .) -}}
{{- if eq $.Values.discovery "endpointslices" -}}
{{- $places = append $places (printf "k8s:%s.%s:grpc" $service $.Release.Namespace) -}}
{{- else -}}
{{- $places = append $places (printf "dns:%s:50051" $service) -}}
{{- end -}}
{{- end -}}
{{- join "," (concat $places .Values.frontend.extraWorkers) -}}
{{- end -}}
