{{/* What the schema cannot say. */}}

{{- define "drover.hasPostgres" -}}
{{- if or .Values.database.existingSecret.name (hasPrefix "postgresql://" .Values.database.url) -}}yes{{- end -}}
{{- end -}}

{{- define "drover.mostFrontends" -}}
{{- with .Values.frontend -}}
{{- ternary .autoscaling.maxReplicas .replicas .autoscaling.enabled | int -}}
{{- end -}}
{{- end -}}

{{/* Of a model. */}}
{{- define "drover.mostWorkers" -}}
{{- $most := int .replicas -}}
{{- if .autoscaling.hpa.enabled -}}{{- $most = int .autoscaling.hpa.maxReplicas -}}{{- end -}}
{{- if .autoscaling.keda.enabled -}}{{- $most = int .autoscaling.keda.maxReplicas -}}{{- end -}}
{{- $most -}}
{{- end -}}

{{- define "drover.checks" -}}
{{- if and (gt (int (include "drover.mostFrontends" .)) 1) (not (include "drover.hasPostgres" .)) -}}
{{- fail "several frontends need PostgreSQL, since each would have presets of its own in SQLite: set database.url or database.existingSecret.name, or leave frontend.replicas and frontend.autoscaling.maxReplicas at 1" -}}
{{- end -}}
{{- if and .Values.database.url .Values.database.existingSecret.name -}}
{{- fail "database.url and database.existingSecret.name are both set: which one is it?" -}}
{{- end -}}
{{- if and .Values.frontend.autoscaling.enabled (gt (int .Values.frontend.autoscaling.minReplicas) (int .Values.frontend.autoscaling.maxReplicas)) -}}
{{- fail "frontend.autoscaling.minReplicas is larger than maxReplicas" -}}
{{- end -}}
{{- if and .Values.serviceMonitor.enabled (not .Values.metrics.enabled) -}}
{{- fail "serviceMonitor.enabled needs metrics.enabled" -}}
{{- end -}}
{{- if and .Values.serviceMonitor.enabled .Values.networkPolicy.enabled (not .Values.networkPolicy.metricsFrom) -}}
{{- fail "serviceMonitor.enabled with networkPolicy.enabled: nobody could read the workers' metrics; say who may in networkPolicy.metricsFrom, for example [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: monitoring}}}]" -}}
{{- end -}}
{{- if and .Values.ingress.enabled (not .Values.ingress.host) -}}
{{- fail "ingress.enabled needs ingress.host" -}}
{{- end -}}
{{- $seen := dict -}}
{{- range include "drover.models" . | fromJsonArray -}}
{{- if hasKey $seen .name -}}
{{- fail (printf "two models are called %q" .name) -}}
{{- end -}}
{{- $_ := set $seen .name true -}}
{{- include "drover.checkModel" (dict "root" $ "model" .) -}}
{{- end -}}
{{- end -}}

{{- define "drover.checkModel" -}}
{{- $model := .model -}}
{{- $keda := $model.autoscaling.keda -}}
{{- $hpa := $model.autoscaling.hpa -}}
{{- if eq $model.name "frontend" -}}
{{- fail "a model cannot be called frontend: its objects would have the frontend's names" -}}
{{- end -}}
{{- if and (gt (int $model.nodes) 1) (ne $model.engine "sglang") -}}
{{- fail (printf "model %s: only sglang runs over several nodes, not %s" $model.name $model.engine) -}}
{{- end -}}
{{- if and (gt (int $model.nodes) 1) $model.modelCache.enabled (not $model.modelCache.existingClaim) -}}
{{- fail (printf "model %s: pods on several nodes share one model cache: name a claim with ReadWriteMany or ReadOnlyMany in modelCache.existingClaim" $model.name) -}}
{{- end -}}
{{- if and (eq $model.engine "sglang") (not $model.model) -}}
{{- fail (printf "model %s: sglang needs a model: a repository's id or a folder" $model.name) -}}
{{- end -}}
{{- if and $model.sglangArgs (ne $model.engine "sglang") -}}
{{- fail (printf "model %s: sglangArgs says nothing to %s" $model.name $model.engine) -}}
{{- end -}}
{{- if and $hpa.enabled $keda.enabled -}}
{{- fail (printf "model %s: autoscaling by hpa and by keda would work against each other: enable one of them" $model.name) -}}
{{- end -}}
{{- if or (and $hpa.enabled (gt (int $hpa.minReplicas) (int $hpa.maxReplicas))) (and $keda.enabled (gt (int $keda.minReplicas) (int $keda.maxReplicas))) -}}
{{- fail (printf "model %s: minReplicas is larger than maxReplicas" $model.name) -}}
{{- end -}}
{{- if and $keda.enabled (not .root.Values.keda.prometheusAddress) -}}
{{- fail (printf "model %s: autoscaling.keda needs keda.prometheusAddress" $model.name) -}}
{{- end -}}
{{- if and $keda.enabled (not $model.names) -}}
{{- fail (printf "model %s: autoscaling.keda needs names: metrics tell models apart by the first one" $model.name) -}}
{{- end -}}
{{- if and $keda.enabled (not .root.Values.metrics.enabled) -}}
{{- fail (printf "model %s: autoscaling.keda needs metrics.enabled" $model.name) -}}
{{- end -}}
{{- $cache := $model.modelCache -}}
{{- if and $cache.enabled (not $cache.existingClaim) (eq $model.kind "Deployment") (gt (int (include "drover.mostWorkers" $model)) 1) (not (or (has "ReadWriteMany" $cache.accessModes) (has "ReadOnlyMany" $cache.accessModes))) -}}
{{- fail (printf "model %s: several workers of a Deployment share one model cache, and ReadWriteOnce holds them on one node: set kind: StatefulSet, or modelCache.accessModes: [ReadWriteMany]" $model.name) -}}
{{- end -}}
{{- end -}}
