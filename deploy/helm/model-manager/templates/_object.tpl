{{- /* One object of the manifests, as the values want it. */ -}}
{{- define "model-manager.object" }}
{{- $object := .object }}
{{- $values := .root.Values }}
{{- $skip := and (eq $object.kind "Namespace") (eq $object.metadata.name .root.Release.Namespace) }}
{{- if eq $object.kind "CustomResourceDefinition" }}
{{- $_ := set $object.metadata "annotations" (dict "helm.sh/resource-policy" "keep") }}
{{- else if and (eq $object.kind "Namespace") (eq $object.metadata.name $values.namespaces.models) }}
{{- $_ := set $object.metadata "annotations" (dict "helm.sh/resource-policy" "keep") }}
{{- else if eq $object.kind "ResourceQuota" }}
{{- $_ := set $object.spec "hard" $values.quota }}
{{- $skip = empty $values.quota }}
{{- else if eq $object.kind "ServiceAccount" }}
{{- with $values.serviceAccountAnnotations }}
{{- $_ := set $object.metadata "annotations" . }}
{{- end }}
{{- else if eq $object.kind "Deployment" }}
{{- $_ := set $object.spec "replicas" $values.replicas }}
{{- $pod := $object.spec.template.spec }}
{{- range $field := list "imagePullSecrets" "nodeSelector" "tolerations" "priorityClassName" }}
{{- with get $values $field }}
{{- $_ := set $pod $field . }}
{{- end }}
{{- end }}
{{- $container := first $object.spec.template.spec.containers }}
{{- $_ := set $container "image" (required "set image to the server's image; `make images` builds it" $values.image) }}
{{- $_ := set $container "resources" $values.resources }}
{{- if $values.storageSecret }}
{{- $_ := set $container "envFrom" (list (dict "secretRef" (dict "name" $values.storageSecret "optional" true))) }}
{{- else }}
{{- $_ := unset $container "envFrom" }}
{{- end }}
{{- $args := $container.args }}
{{- $args = append $args (printf "--storage=%s" (required "set storage to an address such as s3://bucket?region=…" $values.storage)) }}
{{- $args = append $args (printf "--agent-image=%s" (required "set agentImage to the agent's image; `make images` builds it" $values.agentImage)) }}
{{- range $values.imagePrefixes }}
{{- $args = append $args (printf "--image-prefix=%s" .) }}
{{- end }}
{{- range $language, $base := $values.bases }}
{{- $args = append $args (printf "--base=%s=%s" $language $base) }}
{{- end }}
{{- range $values.hosts }}
{{- $args = append $args (printf "--host=%s" .) }}
{{- end }}
{{- range $values.models.imagePullSecrets }}
{{- $args = append $args (printf "--image-pull-secret=%s" .) }}
{{- end }}
{{- range $label, $value := $values.models.nodeSelector }}
{{- $args = append $args (printf "--node-selector=%s=%s" $label $value) }}
{{- end }}
{{- range $values.models.tolerations }}
{{- if .tolerationSeconds }}
{{- fail "models.tolerations can't have tolerationSeconds" }}
{{- end }}
{{- $taint := required "each of models.tolerations needs a key" .key }}
{{- if ne (default "Equal" .operator) "Exists" }}
{{- $taint = printf "%s=%s" $taint (default "" .value) }}
{{- end }}
{{- with .effect }}
{{- $taint = printf "%s:%s" $taint . }}
{{- end }}
{{- $args = append $args (printf "--toleration=%s" $taint) }}
{{- end }}
{{- range $flag, $value := dict "runtime-class" $values.models.runtimeClass "priority-class" $values.models.priorityClass "batch-priority-class" $values.models.batchPriorityClass "queue" $values.models.queue }}
{{- with $value }}
{{- $args = append $args (printf "--%s=%s" $flag .) }}
{{- end }}
{{- end }}
{{- with $values.oidcSecret }}
{{- $_ := set $pod "volumes" (append $pod.volumes (dict "name" "oidc" "secret" (dict "secretName" .))) }}
{{- $_ := set $container "volumeMounts" (append $container.volumeMounts (dict "name" "oidc" "mountPath" "/etc/model-manager/oidc" "readOnly" true)) }}
{{- $args = append $args "--oidc-client-secret-file=/etc/model-manager/oidc/client-secret" }}
{{- end }}
{{- range $values.extraArgs }}
{{- $args = append $args . }}
{{- end }}
{{- $_ := set $container "args" $args }}
{{- end }}
{{- if not $skip }}
---
{{ toYaml $object }}
{{- end }}
{{- end }}
