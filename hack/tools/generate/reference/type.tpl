{{- define "type" -}}
{{- if markdownShouldRenderType . }}
## {{ .Name }}

{{ .Doc }}
{{ with .Validation }}
Rules: {{ template "rules" . }}.
{{ end }}
{{- with .SortedReferences }}
Used in {{ range $i, $r := . }}{{ if $i }}, {{ end }}{{ markdownRenderTypeLink $r }}{{ end }}.
{{ end }}
{{- if .Members }}
| field | type | meaning | default | rules |
|---|---|---|---|---|
{{ range .Members -}}
{{ template "member" . }}
{{ end }}
{{- end }}
{{- if .EnumValues }}
| value | meaning |
|---|---|
{{ range .EnumValues -}}
| `{{ .Name }}` | {{ template "line" .Doc }} |
{{ end }}
{{- end }}
{{- end }}
{{- end -}}
