{{/*
The stem of all names in the namespace: the release's name, which is extended unless it contains "kzn". A name with
which no Service can be called (a dot, a digit first) is changed, a long one is cut; a hash keeps these apart.
*/}}
{{- define "kzn.name" -}}
{{- $name := .Release.Name | replace "." "-" -}}
{{- if not (contains "kzn" $name) }}{{ $name = printf "%s-kzn" $name }}{{ end -}}
{{- if regexMatch "^[^a-z]" $name }}{{ $name = printf "kzn-%s" $name }}{{ end -}}
{{- if or (gt (len $name) 40) (contains "." .Release.Name) -}}
{{- printf "%s-%s" (trunc 31 $name) (sha256sum .Release.Name | trunc 8) -}}
{{- else -}}
{{- $name -}}
{{- end -}}
{{- end -}}

{{/*
Names of objects without a namespace, one for each release, namespace and component: neither of the last two has a
dot. In: the root, and component.
*/}}
{{- define "kzn.clusterName" -}}
{{- if and (eq .Release.Name "kzn") (eq .Release.Namespace "kzn") -}}
{{- printf "kzn-%s" .component -}}
{{- else -}}
{{- printf "kzn-%s.%s.%s" .component .Release.Name .Release.Namespace -}}
{{- end -}}
{{- end -}}

{{/* Labels that select pods. In: the root, and component. */}}
{{- define "kzn.selector" -}}
app.kubernetes.io/name: kzn
app.kubernetes.io/instance: {{ quote .Release.Name }}
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

{{/* A quantity such as 500Mi or 1.5G in bytes; the schema has the units. */}}
{{- define "kzn.bytes" -}}
{{- $units := dict "" 1.0 "k" 1e3 "M" 1e6 "G" 1e9 "T" 1e12 "Ki" 1024.0 "Mi" 1048576.0 "Gi" 1073741824.0 "Ti" 1099511627776.0 -}}
{{- $number := regexFind "^[0-9.]+" . -}}
{{- printf "%.0f" (mulf (float64 $number) (get $units (trimPrefix $number .))) -}}
{{- end -}}

{{/* Bytes that the history takes at most: of its files, of those that a merge has not yet removed, and of what waits for sinks. */}}
{{- define "kzn.historyBytes" -}}
{{- $size := int64 (include "kzn.bytes" .Values.history.size) -}}
{{- $spool := int64 (include "kzn.bytes" .Values.history.sinkSpool) -}}
{{- add (mul 2 $size) (mul (len .Values.history.sinks) $spool) -}}
{{- end -}}

{{/* Bytes as a quantity in Gi, or in Mi. */}}
{{- define "kzn.quantity" -}}
{{- $bytes := int64 . -}}
{{- if mod $bytes 1073741824 -}}{{ div (add $bytes 1048575) 1048576 }}Mi{{- else -}}{{ div $bytes 1073741824 }}Gi{{- end -}}
{{- end -}}

{{/* The value of --prices: the installed lists, and the files of the ConfigMap. */}}
{{- define "kzn.prices" -}}
{{- $words := list }}
{{- if .Values.prices.installed }}{{ $words = append $words "auto" }}{{ end }}
{{- range $name, $_ := .Values.prices.lists }}{{ $words = append $words (printf "/etc/kzn/prices/%s" $name) }}{{ end }}
{{- default "off" (join "," $words) | quote }}
{{- end }}

{{/* The quota of a priority class of the system. In: the root, component and class. */}}
{{- define "kzn.quota" -}}
{{- if hasPrefix "system-" .class }}
---
# Where priority classes of the system are limited to kube-system (GKE), a namespace needs a quota
# for each that it uses. The number is no limit in practice.
apiVersion: v1
kind: ResourceQuota
metadata:
  name: {{ include "kzn.name" . }}-{{ .component }}
  namespace: {{ quote .Release.Namespace }}
  labels:
    app.kubernetes.io/part-of: kzn
spec:
  hard:
    pods: 1M
  scopeSelector:
    matchExpressions:
      - operator: In
        scopeName: PriorityClass
        values: [{{ quote .class }}]
{{- end }}
{{- end -}}

{{/*
Variables of a container: the chart's own, but for those that the values have too, since a list that has a name
twice is refused by server-side apply. In: own (YAML), more, and key, the name of the value.
*/}}
{{- define "kzn.env" -}}
{{- $names := dict -}}
{{- range .more -}}
{{- if hasKey $names .name }}{{ fail (printf "%s has %s twice" $.key .name) }}{{ end -}}
{{- $_ := set $names .name true -}}
{{- end -}}
{{- $all := list -}}
{{- range fromYamlArray .own -}}
{{- if not (hasKey $names .name) }}{{ $all = append $all . }}{{ end -}}
{{- end -}}
{{- toYaml (concat $all (.more | default list)) -}}
{{- end -}}
