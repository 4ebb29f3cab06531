{{/* Settings as variables: {writeBurst: 100} is PREFIX_WRITE_BURST. Takes (list "PREFIX" settings). */}}
{{- define "acereason.variables" -}}
{{- $prefix := index . 0 -}}
{{- range $name, $value := index . 1 }}
- name: {{ $prefix }}_{{ snakecase $name | upper }}
  {{- /* 1e6 and more would be written with an exponent, which is no whole number. */}}
  {{- $whole := and (kindIs "float64" $value) (eq (floor $value) $value) }}
  value: {{ $whole | ternary (int64 $value) $value | toString | quote }}
{{- end }}
{{- end }}

{{/* The restricted Pod Security Standard, of a pod. */}}
{{- define "acereason.podSecurity" -}}
runAsNonRoot: true
{{- if ge (int64 .Values.settings.podUser) 0 }}
runAsUser: {{ int64 .Values.settings.podUser }}
runAsGroup: {{ int64 .Values.settings.podUser }}
{{- end }}
seccompProfile: {type: RuntimeDefault}
{{- end }}

{{/* The same, of a container, with a root file system that nobody can write to. */}}
{{- define "acereason.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end }}

{{/* A wish for nodes without a pod of the same component. Pods that an update is about to remove do
     not count, or the new ones could end up on one node. Takes its selector. */}}
{{- define "acereason.apart" -}}
podAntiAffinity:
  preferredDuringSchedulingIgnoredDuringExecution:
    - weight: 100
      podAffinityTerm:
        topologyKey: kubernetes.io/hostname
        labelSelector:
          matchLabels:
            {{- . | nindent 12 }}
        matchLabelKeys: [pod-template-hash]
{{- end }}

{{/* Where a component's pods go: apart where they can. Takes (list $ "component"). */}}
{{- define "acereason.placement" -}}
{{- $ := index . 0 -}}
{{- $values := index $.Values (index . 1) -}}
{{- $selector := include "acereason.selector" . -}}
topologySpreadConstraints:
  - topologyKey: topology.kubernetes.io/zone
    maxSkew: 1
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels:
        {{- $selector | nindent 8 }}
    matchLabelKeys: [pod-template-hash]
{{- with $values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- /* Not a second constraint above: the scheduler passes over all of them on nodes without a zone. */}}
{{- $apart := fromYaml (include "acereason.apart" $selector) }}
affinity:
  {{- toYaml (mustMergeOverwrite $apart (deepCopy $values.affinity)) | nindent 2 }}
{{- with $values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with $.Values.images.pullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* Labels and annotations of a component's pods. Takes (list $ "component"). */}}
{{- define "acereason.podMetadata" -}}
{{- $values := index (index . 0).Values (index . 1) -}}
labels:
  {{- with $values.podLabels }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
  {{- include "acereason.labels" . | nindent 2 }}
{{- with $values.podAnnotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* "true" where objects of a kind of monitoring.coreos.com are to be made. Takes (list $ "PodMonitor"). */}}
{{- define "acereason.monitors" -}}
{{- $ := index . 0 -}}
{{- $known := $.Capabilities.APIVersions.Has (printf "monitoring.coreos.com/v1/%s" (index . 1)) -}}
{{- if or (eq $.Values.monitoring.create "always") (and (eq $.Values.monitoring.create "auto") $known) -}}
true
{{- end }}
{{- end }}
