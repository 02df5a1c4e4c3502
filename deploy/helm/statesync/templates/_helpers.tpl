{{- define "statesync.labels" -}}
app.kubernetes.io/name: statesyncd
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/part-of: statesync
{{- end }}

{{- define "statesync.selector" -}}
app.kubernetes.io/name: statesyncd
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "statesync.image" -}}
image: "{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}"
imagePullPolicy: {{ .Values.image.pullPolicy }}
{{- end }}

{{- define "statesync.settings" -}}
{{- $settings := dict
  "STATESYNC_SOURCE" .Values.source
  "STATESYNC_REGION" (printf "/dev/shm/statesync/%s" .Values.region.name)
  "STATESYNC_STATE_DIR" (printf "/var/lib/statesync/%s" .Values.region.name)
  "STATESYNC_REGION_MODE" .Values.region.mode
  "STATESYNC_MAX_IMAGE" .Values.maxImage
  "STATESYNC_SLOTS" .Values.slots
  "STATESYNC_LOG_FORMAT" "json" }}
{{- with .Values.region.group }}
{{- $_ := set $settings "STATESYNC_REGION_GROUP" . }}
{{- end }}
{{- if .Values.metrics.enabled }}
{{- $_ := set $settings "STATESYNC_LISTEN" (printf ":%v" .Values.metrics.port) }}
{{- end }}
{{- range $name, $value := merge (dict) .Values.settings $settings }}
{{ $name }}: {{ $value | toString | quote }}
{{- end }}
{{- end }}
