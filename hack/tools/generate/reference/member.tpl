{{- define "member" -}}
| `{{ .Name }}` | {{ markdownRenderType .Type }} | {{ if eq .Name "metadata" }}as of every object{{ else }}{{ template "line" .Doc }}{{ end }} | {{ markdownRenderDefault .Default }} | {{ template "rules" .Validation }} |
{{- end -}}
{{- define "line" }}{{ markdownRenderFieldDoc . | replace "<br />" " " | trim }}{{ end -}}
{{- define "rules" }}{{ $first := true }}{{ range . }}{{ if ne . "Optional: {}" }}{{ if not $first }}; {{ end }}{{ $first = false }}{{ template "line" . }}{{ end }}{{ end }}{{ end -}}
