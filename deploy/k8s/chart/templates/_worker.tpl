{{/* Pods of workers: of (root, model) and, where one engine runs over several nodes, role: leader or follower. */}}

{{- define "drover.workerPod" -}}
{{- $root := .root -}}
{{- $model := .model -}}
{{- $role := .role | default "" -}}
{{- $sglang := eq $model.engine "sglang" -}}
{{- $prestop := ternary (int $root.Values.longestStreamSeconds) (int $model.preStopSeconds) (eq $role "follower") -}}
metadata:
  labels:
    {{- include "drover.workerSelector" . | nindent 4 }}
  {{- $scraped := and $root.Values.metrics.enabled (ne $role "follower") }}
  {{- if or $scraped $model.podAnnotations }}
  annotations:
    {{- if $scraped }}
    prometheus.io/scrape: "true"
    prometheus.io/port: {{ int $root.Values.metrics.port | quote }}
    {{- end }}
    {{- with $model.podAnnotations }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  {{- end }}
spec:
  serviceAccountName: {{ include "drover.fullname" $root }}-worker
  automountServiceAccountToken: false
  enableServiceLinks: false
  terminationGracePeriodSeconds: {{ include "drover.graceSeconds" (dict "root" $root "prestop" $prestop) }}
  securityContext:
    {{- include "drover.podSecurity" $root | nindent 4 }}
  {{- with $model.runtimeClassName }}
  runtimeClassName: {{ . }}
  {{- end }}
  {{- if not $role }}
  {{- include "drover.spread" (include "drover.workerSelector" .) | nindent 2 }}
  {{- end }}
  {{- with include "drover.scheduling" (dict "root" $root "tier" $model) | trim }}
  {{- . | nindent 2 }}
  {{- end }}
  containers:
    - name: worker
      image: {{ include "drover.image" (dict "root" $root "image" $model.engine) }}
      imagePullPolicy: {{ $root.Values.imagePullPolicy }}
      {{- if $role }}
      args:
        - --sglang-args={{ with $model.sglangArgs }}{{ . }} {{ end }}--nnodes $(LWS_GROUP_SIZE) --node-rank $(LWS_WORKER_INDEX) --dist-init-addr $(LWS_LEADER_ADDRESS):20000
      {{- end }}
      env:
        {{- include "drover.workerEnvironment" . | trim | nindent 8 }}
      ports:
        - name: grpc
          containerPort: 50051
        {{- if $root.Values.tls.enabled }}
        - name: health
          containerPort: 50052
        {{- end }}
        {{- if $root.Values.metrics.enabled }}
        - name: metrics
          containerPort: {{ int $root.Values.metrics.port }}
        {{- end }}
      {{- include "drover.workerProbes" . | trim | nindent 6 }}
      {{- if $prestop }}
      lifecycle:
        preStop:
          {{- if eq $role "follower" }}
          # The leader's answers need all ranks until they end.
          {{- end }}
          sleep:
            seconds: {{ $prestop }}
      {{- end }}
      resources:
        {{- $resources := deepCopy ($model.resources | default dict) }}
        {{- if $model.gpus }}
        {{- $resources = mergeOverwrite $resources (dict "limits" (dict $model.gpuResource (int $model.gpus))) }}
        {{- end }}
        {{- toYaml $resources | nindent 8 }}
      securityContext:
        {{- include "drover.containerSecurity" $root | nindent 8 }}
      volumeMounts:
        - name: tmp
          mountPath: /tmp
        {{- if $root.Values.tls.enabled }}
        {{- include "drover.tlsMount" "fleet" | nindent 8 }}
        {{- end }}
        {{- if $model.modelCache.enabled }}
        - name: models
          mountPath: {{ $model.modelCache.mountPath }}
        {{- end }}
        {{- if $sglang }}
        - name: shared-memory
          mountPath: /dev/shm
        {{- end }}
  volumes:
    - name: tmp
      emptyDir:
        sizeLimit: {{ $model.scratchSize }}
    {{- if $root.Values.tls.enabled }}
    {{- include "drover.tlsVolume" (dict "name" "fleet-tls" "secret" (include "drover.workerSecret" $root)) | nindent 4 }}
    {{- end }}
    {{- if $sglang }}
    - name: shared-memory
      emptyDir:
        medium: Memory
        sizeLimit: {{ $model.sharedMemorySize }}
    {{- end }}
    {{- if and $model.modelCache.enabled (or $role (eq $model.kind "Deployment") $model.modelCache.existingClaim) }}
    - name: models
      persistentVolumeClaim:
        claimName: {{ $model.modelCache.existingClaim | default (include "drover.worker" .) }}
    {{- end }}
{{- end -}}

{{- define "drover.workerEnvironment" -}}
{{- $root := .root -}}
{{- $model := .model -}}
- name: DROVER_WORKER_LISTEN
  value: "{{ $root.Values.listenHost }}:50051"
- name: DROVER_WORKER_ENGINE
  value: {{ $model.engine }}
{{- with $model.model }}
- name: DROVER_WORKER_MODEL
  value: {{ . | quote }}
{{- end }}
{{- with $model.names }}
- name: DROVER_WORKER_NAME
  value: {{ join "," . | quote }}
{{- end }}
{{- if and $model.sglangArgs (not .role) }}
- name: DROVER_WORKER_SGLANG_ARGS
  value: {{ $model.sglangArgs | quote }}
{{- end }}
- name: DROVER_WORKER_DRAIN_GRACE_SECONDS
  value: "{{ int $root.Values.longestStreamSeconds }}"
{{- if $root.Values.tls.enabled }}
{{ include "drover.fleetTlsEnvironment" "DROVER_WORKER_" }}
- name: DROVER_WORKER_HEALTH_LISTEN
  value: "{{ $root.Values.listenHost }}:50052"
{{- end }}
{{- if $root.Values.metrics.enabled }}
- name: DROVER_WORKER_METRICS_LISTEN
  value: "{{ $root.Values.listenHost }}:{{ int $root.Values.metrics.port }}"
{{- end }}
{{- with include "drover.settings" (dict "prefix" "DROVER_WORKER_" "settings" $model.settings) | trim }}
{{ . }}
{{- end }}
{{- $own := list }}
{{- range $model.env }}{{- $own = append $own .name }}{{- end }}
# The root file system cannot be written.
{{- if not (has "HOME" $own) }}
- name: HOME
  value: /tmp
{{- end }}
{{- if not (has "XDG_CACHE_HOME" $own) }}
- name: XDG_CACHE_HOME
  value: /tmp/cache
{{- end }}
{{- if eq $model.engine "sglang" }}
{{- if not (has "HF_HOME" $own) }}
- name: HF_HOME
  value: {{ ternary $model.modelCache.mountPath "/tmp/hub" $model.modelCache.enabled }}
{{- end }}
{{- if not (or $model.allowDownloads (has "HF_HUB_OFFLINE" $own)) }}
- name: HF_HUB_OFFLINE
  value: "1"
{{- end }}
{{- with $model.hubTokenSecret.name }}
- name: HF_TOKEN
  valueFrom:
    secretKeyRef:
      name: {{ . }}
      key: {{ $model.hubTokenSecret.key }}
{{- end }}
{{- end }}
{{- with $model.env }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* The service "" is healthy from the first second on, the engine's own once the model is loaded and until the
     worker drains. gRPC probes take no names of ports. */}}
{{- define "drover.workerProbes" -}}
{{- $service := ternary "" "drover.v1.Engine" (eq (.role | default "") "follower") -}}
{{- /* The kubelet has no certificate. */ -}}
{{- $port := ternary 50052 50051 .root.Values.tls.enabled -}}
startupProbe:
  grpc: {port: {{ $port }}{{ with $service }}, service: {{ . }}{{ end }}}
  periodSeconds: 5
  timeoutSeconds: 5
  failureThreshold: {{ div (add (int .model.loadBudgetSeconds) 4) 5 }}
{{- if $service }}
readinessProbe:
  grpc: {port: {{ $port }}, service: {{ $service }}}
  periodSeconds: 5
  timeoutSeconds: 5
  failureThreshold: 2
{{- end }}
livenessProbe:
  grpc: {port: {{ $port }}}
  periodSeconds: 10
  timeoutSeconds: 5
  failureThreshold: 6
{{- end -}}

{{/* Of (root, model): the claims of a StatefulSet's own, or one for all. */}}
{{- define "drover.modelClaim" -}}
accessModes:
  {{- toYaml .model.modelCache.accessModes | nindent 2 }}
{{- with .model.modelCache.storageClass }}
storageClassName: {{ . }}
{{- end }}
resources:
  requests:
    storage: {{ .model.modelCache.size }}
{{- end -}}
