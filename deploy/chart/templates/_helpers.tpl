{{/* The stem of all names: the release's name, which is extended unless it contains "kzn". */}}
{{- define "kzn.name" -}}
{{- if contains "kzn" .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-kzn" (.Release.Name | trunc 36 | trimSuffix "-") -}}
{{- end -}}
{{- end -}}

{{/* Names of objects without a namespace: with it, unless it says nothing new. */}}
{{- define "kzn.clusterName" -}}
{{- $name := include "kzn.name" . -}}
{{- if eq $name .Release.Namespace -}}
{{- printf "%s-%s" $name .component -}}
{{- else -}}
{{- printf "%s-%s-%s" $name .component .Release.Namespace | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/* Labels that select pods. In: the root, and component. */}}
{{- define "kzn.selector" -}}
app.kubernetes.io/name: kzn
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end -}}

{{- define "kzn.labels" -}}
{{ include "kzn.selector" . }}
app.kubernetes.io/part-of: kzn
{{- end -}}

{{/* YAML makes a float of a tag such as 20261126; the schema allows integers only. */}}
{{- define "kzn.image" -}}
{{- $tag := .Values.image.tag -}}
{{- if kindIs "float64" $tag -}}{{- $tag = toString (int64 $tag) -}}{{- end -}}
{{- if or $tag (not .Values.image.digest) -}}
{{- printf "%s:%v" .Values.image.repository ($tag | default .Chart.AppVersion) -}}
{{- else -}}
{{- .Values.image.repository -}}
{{- end -}}
{{- with .Values.image.digest -}}@{{ . }}{{- end -}}
{{- end -}}

{{/* The value of --prices: the installed lists, and the files of the ConfigMap. */}}
{{- define "kzn.prices" -}}
{{- $words := list }}
{{- if .Values.prices.installed }}{{ $words = append $words "auto" }}{{ end }}
{{- range $name, $_ := .Values.prices.lists }}{{ $words = append $words (printf "/etc/kzn/prices/%s" $name) }}{{ end }}
{{- default "off" (join "," $words) | quote }}
{{- end }}
