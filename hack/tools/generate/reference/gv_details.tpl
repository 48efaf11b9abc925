{{- define "gvDetails" }}
Everything in `{{ .GroupVersionString }}`. Begin at [ImageCSIDriver](#imagecsidriver). `kubectl explain imagecsidriver.spec` prints the same;
the [sample with every field](../config/samples/storage_v1alpha1_imagecsidriver_full.yaml) shows the fields in use, and
[API versions](api-versions.md) what the version promises.
{{ range .SortedTypes }}{{ template "type" . }}{{ end }}
{{- end -}}
