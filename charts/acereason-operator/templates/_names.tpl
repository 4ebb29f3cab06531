{{/* Name of everything in the release; short enough for the longest suffix. */}}
{{- define "acereason.name" -}}
{{- $release := contains .Chart.Name .Release.Name | ternary .Release.Name (printf "%s-%s" .Release.Name .Chart.Name) }}
{{- .Values.fullnameOverride | default $release | trunc 46 | trimSuffix "-" }}
{{- end }}

{{/* What a component's pods are selected by. Takes (list $ "component"). */}}
{{- define "acereason.selector" -}}
app.kubernetes.io/name: {{ (index . 0).Chart.Name }}
app.kubernetes.io/instance: {{ (index . 0).Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end }}

{{/* Labels of a component's objects. Takes (list $ "component"). */}}
{{- define "acereason.labels" -}}
{{- $ := index . 0 -}}
{{ include "acereason.selector" . }}
app.kubernetes.io/version: {{ $.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ $.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" $.Chart.Name $.Chart.Version | replace "+" "_" }}
{{- end }}

{{/* Reference of an image. Takes (list $ "operator"). */}}
{{- define "acereason.image" -}}
{{- $ := index . 0 -}}
{{- $image := index $.Values.images (index . 1) -}}
{{- $name := printf "%s/%s" ($image.registry | default $.Values.images.registry | trimSuffix "/") $image.name -}}
{{- if $image.digest -}}
{{ $name }}@{{ $image.digest }}
{{- else -}}
{{ $name }}:{{ $image.tag | default $.Chart.AppVersion }}
{{- end }}
{{- end }}

{{/* Address of the verifier service; nothing where there is none. */}}
{{- define "acereason.verifierUrl" -}}
{{- if .Values.verifier.enabled -}}
http://{{ include "acereason.name" . }}-verifier.{{ .Release.Namespace }}:{{ int64 .Values.verifier.settings.port }}
{{- end }}
{{- end }}

{{/* Name of the run that `helm test` makes, and of its volume; a run's has 40 characters at most. */}}
{{- define "acereason.testRun" -}}
{{- printf "test-%s" .Release.Name | trunc 40 | trimSuffix "-" }}
{{- end }}

{{/* Namespace of the run that `helm test` makes. */}}
{{- define "acereason.testNamespace" -}}
{{- first (append .Values.namespaces .Release.Namespace) }}
{{- end }}
