{{- define "ackmark.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 63 | trimSuffix "-" -}}
{{- else -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- if contains $name .Release.Name -}}
{{- .Release.Name | trunc 63 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 63 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}
{{- end }}

{{- define "ackmark.selector" -}}
app.kubernetes.io/name: {{ default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" | quote }}
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end }}

{{- define "ackmark.labels" -}}
{{ include "ackmark.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}

{{- define "ackmark.kind" -}}{{ ternary "StatefulSet" "Deployment" .Values.exactlyOnce.enabled }}{{- end }}

{{- define "ackmark.socket" -}}unix:///run/ackmark/pod/sidecar.sock{{- end }}

{{/* The sidecar's file: what is set by the values of the chart is not said twice. */}}
{{- define "ackmark.config" -}}
{{- $fixed := dict "brokers" .Values.brokers "listen" (include "ackmark.socket" .) "socket_mode" "0770" -}}
{{- toYaml (merge $fixed .Values.sidecar.config) -}}
{{- end }}

{{- define "ackmark.confined" -}}
allowPrivilegeEscalation: false
capabilities: {drop: [ALL]}
readOnlyRootFilesystem: true
{{- end }}

{{/* The init container that runs beside the app: kubelet starts the app when its startup probe has passed, and ends it after the app. */}}
{{- define "ackmark.sidecar" -}}
name: ackmark
image: {{ .Values.sidecar.image | quote }}
imagePullPolicy: {{ .Values.sidecar.imagePullPolicy }}
restartPolicy: Always
args: [sidecar]
env:
  - {name: ACKMARK_CONFIG, value: /etc/ackmark/sidecar.yaml}
  # Also for the probes and for `kubectl exec … -- /ackmark status`.
  - {name: ACKMARK_LISTEN, value: {{ include "ackmark.socket" . | quote }}}
  - {name: ACKMARK_ADMIN, value: {{ printf "%s:%d" (ternary "0.0.0.0" "127.0.0.1" .Values.monitoring.podMonitor) (int64 .Values.admin.port) | quote }}}
  - {name: POD_NAME, valueFrom: {fieldRef: {fieldPath: metadata.name}}}
  - {name: POD_NAMESPACE, valueFrom: {fieldRef: {fieldPath: metadata.namespace}}}
  - {name: NODE_NAME, valueFrom: {fieldRef: {fieldPath: spec.nodeName}}}
  - name: OTEL_RESOURCE_ATTRIBUTES
    value: k8s.namespace.name=$(POD_NAMESPACE),k8s.pod.name=$(POD_NAME),k8s.node.name=$(NODE_NAME)
{{- if .Values.exactlyOnce.enabled }}
  - {name: ACKMARK_TRANSACTIONAL_ID, value: $(POD_NAMESPACE).$(POD_NAME)}
{{- end }}
{{- with .Values.sidecar.env }}
{{ toYaml . | indent 2 }}
{{- end }}
ports:
  - {name: admin, containerPort: {{ int64 .Values.admin.port }}}
# Not readiness: while Kafka is away, kubelet would restart the sidecar, ever more slowly.
startupProbe:
  exec: {command: [/ackmark, healthcheck, --service, liveness]}
  periodSeconds: 1
  timeoutSeconds: 5
  failureThreshold: 60
livenessProbe:
  exec: {command: [/ackmark, healthcheck, --service, liveness]}
  periodSeconds: 10
  timeoutSeconds: 5
  failureThreshold: 3
readinessProbe:
  exec: {command: [/ackmark, healthcheck, --service, readiness]}
  periodSeconds: 5
  timeoutSeconds: 5
  failureThreshold: 3
resources:
{{ toYaml .Values.sidecar.resources | indent 2 }}
securityContext:
  runAsUser: {{ int64 .Values.sidecar.uid }}
{{ include "ackmark.confined" . | indent 2 }}
volumeMounts:
  - {name: ackmark, mountPath: /run/ackmark}
  - {name: ackmark-config, mountPath: /etc/ackmark, readOnly: true}
{{- range $i, $name := .Values.sidecar.secrets }}
  - {name: {{ printf "secret-%d" $i }}, mountPath: {{ printf "/run/secrets/ackmark/%s" $name | quote }}, readOnly: true}
{{- end }}
{{- end }}

{{/* The volumes of the sidecar. */}}
{{- define "ackmark.volumes" -}}
# For the socket alone. With fsGroup, what is made in it belongs to the pod's group.
- name: ackmark
  emptyDir: {medium: Memory, sizeLimit: 32Mi}
- name: ackmark-config
  configMap:
    name: {{ include "ackmark.fullname" . }}
{{- range $i, $name := .Values.sidecar.secrets }}
- name: {{ printf "secret-%d" $i }} # a Secret's name may be longer than a volume's, and have dots
  secret: {secretName: {{ $name | quote }}, defaultMode: 0440}
{{- end }}
{{- end }}
