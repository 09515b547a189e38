{{- define "headwater.name" -}}
{{- if contains .Chart.Name .Release.Name }}{{ .Release.Name | trunc 40 | trimSuffix "-" }}{{ else }}{{ printf "%s-%s" .Release.Name .Chart.Name | trunc 40 | trimSuffix "-" }}{{ end }}
{{- end }}

{{- define "headwater.image" -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end }}

{{- define "headwater.labels" -}}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
app.kubernetes.io/name: headwater
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end }}

{{- /* what a selector and a pod share: (list root component) */ -}}
{{- define "headwater.selector" -}}
app.kubernetes.io/name: headwater
app.kubernetes.io/instance: {{ (index . 0).Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end }}

{{- define "headwater.serviceAccount" -}}
{{ if .Values.serviceAccount.create }}{{ include "headwater.name" . }}{{ else }}default{{ end }}
{{- end }}

{{- define "headwater.sharedClaim" -}}
{{ .Values.persistence.existingClaim | default (printf "%s-shared" (include "headwater.name" .)) }}
{{- end }}

{{- define "headwater.sessionsClaim" -}}
{{ .Values.worker.persistence.existingClaim | default (printf "%s-sessions" (include "headwater.name" .)) }}
{{- end }}

{{- define "headwater.secret" -}}
{{ include "headwater.name" . }}
{{- end }}

{{- /* settings of every process */ -}}
{{- define "headwater.env" -}}
- {name: HEADWATER_KAFKA__BOOTSTRAP_SERVERS, value: {{ .Values.kafka.bootstrapServers | quote }}}
- {name: HEADWATER_KAFKA__PARTITIONS, value: {{ .Values.kafka.partitions | quote }}}
- {name: HEADWATER_KAFKA__REPLICATION_FACTOR, value: {{ .Values.kafka.replicationFactor | quote }}}
- {name: HEADWATER_KAFKA__LOG_RETENTION_DAYS, value: {{ .Values.kafka.logRetentionDays | quote }}}
- {name: HEADWATER_STORES__ONLINE_STORE, value: redis}
- {name: HEADWATER_STORES__STATE_DIR, value: /var/lib/headwater}
- name: HEADWATER_STORES__REDIS_URL
  valueFrom:
    secretKeyRef:
      name: {{ .Values.redis.existingSecret | default (include "headwater.secret" .) }}
      key: redis-url
- {name: HEADWATER_METRICS_PORT, value: {{ .Values.metrics.port | quote }}}
- {name: HEADWATER_SERVING__STUDENTS, value: {{ .Values.server.students | toJson | quote }}}
- {name: HOME, value: /tmp}
{{- range $name, $value := .Values.settings }}
- {name: HEADWATER_{{ $name }}, value: {{ $value | toString | quote }}}
{{- end }}
{{- end }}

{{- /* what every process reads; the session state is mounted by workers and backups alone */ -}}
{{- define "headwater.volumes" -}}
- name: shared
  persistentVolumeClaim:
    claimName: {{ include "headwater.sharedClaim" . }}
- name: tmp
  emptyDir: {}
{{- end }}

{{- define "headwater.sessionsVolume" -}}
- name: sessions
  persistentVolumeClaim:
    claimName: {{ include "headwater.sessionsClaim" . }}
{{- end }}

{{- define "headwater.mounts" -}}
- {name: shared, mountPath: /var/lib/headwater}
- {name: tmp, mountPath: /tmp}
{{- end }}

{{- define "headwater.sessionsMount" -}}
- {name: sessions, mountPath: /var/lib/headwater/sessions}
{{- end }}

{{- define "headwater.podHead" -}}
serviceAccountName: {{ include "headwater.serviceAccount" . }}
automountServiceAccountToken: false
securityContext: {{- toYaml .Values.podSecurityContext | nindent 2 }}
{{- with .Values.imagePullSecrets }}
imagePullSecrets: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- define "headwater.placement" -}}
{{- with .nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .affinity }}
affinity: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- /* a process that reads the stream: dict root component args values replicas strategy */ -}}
{{- define "headwater.deployment" -}}
{{- $root := .root -}}
apiVersion: apps/v1
kind: Deployment
metadata:
  name: {{ include "headwater.name" $root }}-{{ .component }}
  labels: {{- include "headwater.labels" $root | nindent 4 }}
    app.kubernetes.io/component: {{ .component }}
spec:
  {{- if not .scaled }}
  replicas: {{ .replicas | default 1 }}
  {{- end }}
  strategy: {type: {{ .strategy | default "Recreate" }}}
  selector:
    matchLabels: {{- include "headwater.selector" (list $root .component) | nindent 6 }}
  template:
    metadata:
      labels: {{- include "headwater.selector" (list $root .component) | nindent 8 }}
        headwater/metrics: "true"
      annotations:
        checksum/secret: {{ include (print $root.Template.BasePath "/secret.yaml") $root | sha256sum }}
    spec:
      {{- include "headwater.podHead" $root | nindent 6 }}
      terminationGracePeriodSeconds: 60
      containers:
        - name: {{ .component }}
          image: {{ include "headwater.image" $root | quote }}
          imagePullPolicy: {{ $root.Values.image.pullPolicy }}
          args: {{- toYaml .args | nindent 12 }}
          env: {{- include "headwater.env" $root | nindent 12 }}
          ports:
            - {name: metrics, containerPort: {{ $root.Values.metrics.port }}}
          startupProbe:
            httpGet: {path: /metrics, port: metrics}
            periodSeconds: 5
            failureThreshold: 60
          livenessProbe:
            httpGet: {path: /metrics, port: metrics}
            periodSeconds: 20
            timeoutSeconds: 5
            failureThreshold: 6
          resources: {{- toYaml .values.resources | nindent 12 }}
          securityContext: {{- toYaml $root.Values.securityContext | nindent 12 }}
          volumeMounts:
            {{- include "headwater.mounts" $root | nindent 12 }}
            {{- if eq .component "worker" }}
            {{- include "headwater.sessionsMount" $root | nindent 12 }}
            {{- end }}
      volumes:
        {{- include "headwater.volumes" $root | nindent 8 }}
        {{- if eq .component "worker" }}
        {{- include "headwater.sessionsVolume" $root | nindent 8 }}
        {{- end }}
      {{- include "headwater.placement" .values | nindent 6 }}
{{- end }}
