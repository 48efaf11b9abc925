{{- define "gvList" -}}
<!-- Written by make generate, from the comments in api/. -->

# API reference
{{ range . }}{{ template "gvDetails" . }}{{ end }}
{{- end -}}
