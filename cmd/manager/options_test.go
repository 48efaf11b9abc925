package main

import (
	"flag"
	"io"
	"strings"
	"testing"

	"github.com/image-csi/image-csi-operator/internal/operator/render"
)

func TestParse(t *testing.T) {
	tests := map[string]struct {
		args      []string
		env       map[string]string
		want      render.Settings
		condition string
		wantErr   string
	}{
		"environment": {env: map[string]string{ownNamespaceEnv: "own", pluginNamespaceEnv: "ns", imageEnv: "a"},
			want: render.Settings{Namespace: "ns", OperatorNamespace: "own", NodePluginImage: "a"}},
		"OLM": {env: map[string]string{ownNamespaceEnv: "ns", relatedImageEnv: "b", conditionEnv: "operator.v1"},
			want: render.Settings{Namespace: "ns", OperatorNamespace: "ns", NodePluginImage: "b"}, condition: "operator.v1"},
		"both images": {env: map[string]string{ownNamespaceEnv: "ns", imageEnv: "a", relatedImageEnv: "b"},
			want: render.Settings{Namespace: "ns", OperatorNamespace: "ns", NodePluginImage: "a"}},
		"flags win": {args: []string{"--namespace=other", "--node-plugin-image=c"}, env: map[string]string{ownNamespaceEnv: "own", pluginNamespaceEnv: "ns", imageEnv: "a"},
			want: render.Settings{Namespace: "other", OperatorNamespace: "own", NodePluginImage: "c"}},
		"outside a cluster": {args: []string{"--namespace=ns", "--node-plugin-image=c"},
			want: render.Settings{Namespace: "ns", OperatorNamespace: "ns", NodePluginImage: "c"}},
		"no namespace": {env: map[string]string{imageEnv: "a"}, wantErr: "--namespace"},
		"no image":     {env: map[string]string{ownNamespaceEnv: "ns"}, wantErr: "--node-plugin-image"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			flags := flag.NewFlagSet("manager", flag.ContinueOnError)
			flags.SetOutput(io.Discard)
			got, err := parse(flags, test.args, func(key string) string { return test.env[key] })
			if test.wantErr != "" {
				if err == nil || !strings.Contains(err.Error(), test.wantErr) {
					t.Errorf("error %v does not tell %q", err, test.wantErr)
				}
				return
			}
			if got.metricsAddress != ":8443" || !got.metricsSecure {
				t.Errorf("the metrics are served at %s to everybody", got.metricsAddress)
			}
			if err != nil || got.settings != test.want || got.condition != test.condition {
				t.Errorf("got %+v, %q, %v; want %+v, %q", got.settings, got.condition, err, test.want, test.condition)
			}
		})
	}
}
