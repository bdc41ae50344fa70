{{/* What the schema cannot say. */}}

{{- define "drover.hasPostgres" -}}
{{- if or .Values.database.existingSecret.name (regexMatch "^postgres(ql)?://" .Values.database.url) -}}yes{{- end -}}
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

{{/* Of (who, replicas, autoscaled, most). */}}
{{- define "drover.checkReplicas" -}}
{{- if and .autoscaled (or (eq (int .replicas) 0) (gt (int .replicas) (int .most))) -}}
{{- fail (printf "%s: replicas is %d, but its autoscaling is enabled and decides up to maxReplicas, which is %d: set autoscaling's minReplicas and maxReplicas, or turn it off" .who (int .replicas) (int .most)) -}}
{{- end -}}
{{- end -}}

{{/* Of (who, environment): the API server takes no variable twice. */}}
{{- define "drover.checkEnvironment" -}}
{{- $who := .who -}}
{{- $seen := dict -}}
{{- range .environment | fromYamlArray -}}
{{- if hasKey $seen .name -}}
{{- fail (printf "%s: %s would be set twice: by the chart, from another of its values, and by settings or env, or by settings in two spellings (write _ between words)" $who .name) -}}
{{- end -}}
{{- $_ := set $seen .name true -}}
{{- end -}}
{{- end -}}

{{/* A quantity as a number; 0 for what is not one in plain digits. */}}
{{- define "drover.bytes" -}}
{{- $units := dict "" 1.0 "k" 1e3 "M" 1e6 "G" 1e9 "T" 1e12 "Ki" 1024.0 "Mi" 1048576.0 "Gi" 1073741824.0 "Ti" 1099511627776.0 -}}
{{- $text := ternary (toString .) (printf "%.0f" (float64 .)) (kindIs "string" .) -}}
{{- $number := regexFind "^[0-9]+([.][0-9]+)?" $text -}}
{{- mulf (float64 $number) (get $units (trimPrefix $number $text) | default 0.0) -}}
{{- end -}}

{{/* Of (who, resources). */}}
{{- define "drover.checkMemory" -}}
{{- $wanted := get (.resources.requests | default dict) "memory" | default "0" -}}
{{- $limit := get (.resources.limits | default dict) "memory" | default "0" -}}
{{- $most := include "drover.bytes" $limit | float64 -}}
{{- if and $most (gt (include "drover.bytes" $wanted | float64) $most) -}}
{{- fail (printf "%s: resources.requests.memory (%v) is above resources.limits.memory (%v), perhaps a default: set both" .who $wanted $limit) -}}
{{- end -}}
{{- end -}}

{{- define "drover.checks" -}}
{{- include "drover.checkTls" . -}}
{{- if and (not .Values.models) (not .Values.hosts.enabled) -}}
{{- fail "models is empty: there is nothing to serve; list some, or set hosts.enabled" -}}
{{- end -}}
{{- if .Values.hosts.enabled -}}
{{- include "drover.checkMemory" (dict "who" "hosts" "resources" (.Values.hosts.resources | default dict)) -}}
{{- include "drover.checkEnvironment" (dict "who" "hosts" "environment" (include "drover.hostEnvironment" .)) -}}
{{- $port := int .Values.metrics.port -}}
{{- if and .Values.metrics.enabled (or (eq $port 50061) (and (ge $port 50100) (le $port 50163))) -}}
{{- fail (printf "metrics.port is %d, where worker hosts or their workers listen for gRPC: they have 50061 and 50100 to 50163" $port) -}}
{{- end -}}
{{- $most := dig "limits" "memory" "0" (.Values.hosts.resources | default dict) -}}
{{- $bytes := include "drover.bytes" $most | float64 -}}
{{- if and $bytes (ge (mulf (float64 .Values.hosts.memoryMib) 1048576.0) $bytes) -}}
{{- fail (printf "hosts.memoryMib (%d) is not below hosts.resources.limits.memory (%v): the host would be killed before its budget is full" (int .Values.hosts.memoryMib) $most) -}}
{{- end -}}
{{- end -}}
{{- with .Values.frontend -}}
{{- include "drover.checkReplicas" (dict "who" "frontend" "replicas" .replicas "autoscaled" .autoscaling.enabled "most" .autoscaling.maxReplicas) -}}
{{- include "drover.checkMemory" (dict "who" "frontend" "resources" (.resources | default dict)) -}}
{{- end -}}
{{- include "drover.checkEnvironment" (dict "who" "frontend" "environment" (include "drover.frontendEnvironment" .)) -}}
{{- if and .Values.metrics.enabled (eq (int .Values.metrics.port) 50051) -}}
{{- fail "metrics.port is 50051, where workers listen for gRPC" -}}
{{- end -}}
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
{{- fail "serviceMonitor.enabled with networkPolicy.enabled: the workers' metrics could not be read; say who may in networkPolicy.metricsFrom, for example [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: monitoring}}}]" -}}
{{- end -}}
{{- if and .Values.alerts.enabled (not .Values.metrics.enabled) -}}
{{- fail "alerts.enabled needs metrics.enabled" -}}
{{- end -}}
{{- if and .Values.ingress.enabled (not .Values.ingress.host) -}}
{{- fail "ingress.enabled needs ingress.host" -}}
{{- end -}}
{{- $seen := dict -}}
{{- range include "drover.models" . | fromJsonArray -}}
{{- if hasKey $seen .name -}}
{{- fail (printf "two models are called %q" .name) -}}
{{- end -}}
{{- if and $.Values.hosts.enabled (eq .name "host") -}}
{{- fail "a model is called host, which is the name of the worker hosts' objects: give it another name" -}}
{{- end -}}
{{- $_ := set $seen .name true -}}
{{- include "drover.checkModel" (dict "root" $ "model" .) -}}
{{- end -}}
{{- range include "drover.models" . | fromJsonArray -}}
{{- if and (gt (int .nodes) 1) (hasKey $seen (printf "%s-leaders" .name)) -}}
{{- fail (printf "model %s-leaders: model %s has a Service of that name" .name .name) -}}
{{- end -}}
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
{{- if and (eq $model.engine "sglang") (not (or (hasPrefix "/" $model.model) $model.allowDownloads $model.modelCache.enabled)) -}}
{{- fail (printf "model %s: %s is nowhere and may not be fetched: set allowDownloads: true, or a modelCache that has it" $model.name $model.model) -}}
{{- end -}}
{{- $memory := dig "limits" "memory" "0" ($model.resources | default dict) -}}
{{- if and (eq $model.engine "sglang") (float64 (include "drover.bytes" $memory)) (le (float64 (include "drover.bytes" $memory)) (float64 (include "drover.bytes" $model.sharedMemorySize))) -}}
{{- fail (printf "model %s: resources.limits.memory (%v) is not above sharedMemorySize (%v), which counts as memory: sglang needs requests and limits of its own, for example resources: {requests: {cpu: \"8\", memory: 32Gi}, limits: {memory: 64Gi}}" $model.name $memory $model.sharedMemorySize) -}}
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
{{- $who := printf "model %s" $model.name -}}
{{- include "drover.checkMemory" (dict "who" $who "resources" ($model.resources | default dict)) -}}
{{- include "drover.checkEnvironment" (dict "who" $who "environment" (include "drover.workerEnvironment" .)) -}}
{{- include "drover.checkReplicas" (dict "who" $who "replicas" $model.replicas "autoscaled" (or $hpa.enabled $keda.enabled) "most" (include "drover.mostWorkers" $model)) -}}
{{- $usesOwnMetrics := $keda.enabled -}}
{{- range $hpa.metrics -}}
{{- if and $hpa.enabled (eq (toString .type) "Pods") -}}{{- $usesOwnMetrics = true -}}{{- end -}}
{{- end -}}
{{- if and $usesOwnMetrics .root.Values.networkPolicy.enabled (not .root.Values.networkPolicy.metricsFrom) -}}
{{- fail (printf "model %s: it is scaled on the workers' metrics, which networkPolicy allows no pod to read: say who may in networkPolicy.metricsFrom, for example [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: monitoring}}}]" $model.name) -}}
{{- end -}}
{{- end -}}
