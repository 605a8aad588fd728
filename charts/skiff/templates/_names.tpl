{{/* The name of everything in the release's namespace. */}}
{{- define "skiff.name" -}}
{{- if contains "skiff" .Release.Name }}{{ .Release.Name }}{{ else }}{{ .Release.Name }}-skiff{{ end }}
{{- end }}

{{/* The name of what has no namespace, so that two agents can share a cluster. */}}
{{- define "skiff.clusterName" -}}
{{ include "skiff.name" . }}-{{ .Release.Namespace }}
{{- end }}

{{- define "skiff.serviceAccount" -}}
{{ .Values.serviceAccount.name | default (include "skiff.name" .) }}
{{- end }}

{{- define "skiff.selector" -}}
app.kubernetes.io/name: skiff
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "skiff.labels" -}}
{{ include "skiff.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end }}

{{/* For an agent that gets its own chart from Git: it writes these last, and never deletes them. */}}
{{- define "skiff.guard" -}}
skiff.dev/prune: disabled
skiff.dev/wave: "1000"
{{- end }}

{{/* Every value that is not the chart's own is the agent's configuration; what the release decides is filled in. */}}
{{- define "skiff.config" -}}
{{- $own := list "global" "image" "imagePullSecrets" "replicas" "resources" "env" "credentials" "serviceAccount" "rbac" "podDisruptionBudget" "serviceMonitor" "networkPolicy" "crd" "approvalPolicy" "podLabels" "podAnnotations" "nodeSelector" "tolerations" "affinity" "priorityClassName" }}
{{- $config := .Values }}
{{- range $own }}{{ $config = omit $config . }}{{ end }}
{{- $instance := .Values.agent.instance | default .Values.cluster.name }}
{{- $_ := set $config "agent" (merge (dict "namespace" .Release.Namespace "instance" $instance) .Values.agent) }}
{{- $_ = set $config "lease" (merge (dict) .Values.lease (dict "name" (include "skiff.name" .))) }}
{{- toYaml $config }}
{{- end }}

{{/* What the agent reads once: a change of it restarts the pod, any other is taken up by the running agent. */}}
{{- define "skiff.fixedConfig" -}}
{{- $config := omit (include "skiff.config" . | fromYaml) "environments" "fetch" }}
{{- $_ := set $config "cluster" (omit $config.cluster "labels" "vars") }}
{{- toYaml $config }}
{{- end }}

{{/* The port of a URL, or of `user@host:path` as SSH writes it. */}}
{{- define "skiff.port" -}}
{{- $defaults := dict "https" "443" "http" "80" "ssh" "22" "oci" "443" }}
{{- if contains "://" . }}
{{- $authority := regexReplaceAll "^[^:]+://([^/?#]*).*$" . "${1}" }}
{{- regexFind "[0-9]+$" (regexFind ":[0-9]+$" $authority) | default (get $defaults (regexFind "^[a-z]+" .)) }}
{{- else }}22{{ end }}
{{- end }}
