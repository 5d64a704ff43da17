{{- define "tcsfeel.labels" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end }}

{{- define "tcsfeel.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "tcsfeel.server" -}}
{{ include "tcsfeel.selector" . }}
app.kubernetes.io/component: server
{{- end }}

{{- define "tcsfeel.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}
{{- end }}

{{- define "tcsfeel.user" -}}
runAsNonRoot: true
runAsUser: 10001
runAsGroup: 10001
fsGroup: 10001
seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- define "tcsfeel.container" -}}
image: {{ include "tcsfeel.image" . }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
resources: {{- toYaml .Values.resources | nindent 2 }}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: {drop: [ALL]}
volumeMounts: [{name: data, mountPath: /data}]
{{- end }}

{{- /* The connections that all servers can open: one more server runs during an update, and each migration needs one. */ -}}
{{- define "tcsfeel.connections" -}}
{{- $each := add (int (.Values.settings.TCSFEEL_DATABASE__POOL_SIZE | default "5")) (int (.Values.settings.TCSFEEL_DATABASE__COORDINATOR_POOL_SIZE | default "5")) 1 -}}
{{- $servers := .Values.autoscaling.enabled | ternary (max .Values.autoscaling.maxReplicas .Values.replicas) .Values.replicas -}}
{{- $needed := add (mul $each (add $servers 1)) 1 -}}
{{- $free := sub .Values.database.maxConnections .Values.database.reservedConnections -}}
{{- if gt (int $needed) (int $free) -}}
{{- fail (printf "%d servers with %d connections each can open %d connections, but only %d are free for them: lower TCSFEEL_DATABASE__POOL_SIZE or autoscaling.maxReplicas, or raise database.maxConnections with Postgres's own" (add $servers 1) $each $needed $free) -}}
{{- end -}}
{{- end }}
