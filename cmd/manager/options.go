package main

import (
	"cmp"
	"errors"
	"flag"
	"log/slog"

	"github.com/image-csi/image-csi-operator/internal/operator/render"
)

// Environment variables that the operator's Deployment sets.
const (
	ownNamespaceEnv    = "POD_NAMESPACE"
	pluginNamespaceEnv = "NODE_PLUGIN_NAMESPACE"
	imageEnv           = "NODE_PLUGIN_IMAGE"
	relatedImageEnv    = "RELATED_IMAGE_NODE_PLUGIN" // what OLM sets, by digest
	conditionEnv       = "OPERATOR_CONDITION_NAME"   // what OLM sets besides
)

type options struct {
	settings        render.Settings
	condition       string // the OperatorCondition that OLM made for this operator; empty without OLM
	metricsAddress  string
	metricsSecure   bool
	metricsCertPath string
	healthAddress   string
	leaderElect     bool
	logLevel        slog.Level
	spans           spanProtocol
}

// parse reads the command line; the environment gives the defaults.
func parse(flags *flag.FlagSet, args []string, getenv func(string) string) (options, error) {
	o := options{condition: getenv(conditionEnv)}
	flags.StringVar(&o.settings.Namespace, "namespace", cmp.Or(getenv(pluginNamespaceEnv), getenv(ownNamespaceEnv)),
		"namespace in which the node plugins run; default: $"+pluginNamespaceEnv+" or $"+ownNamespaceEnv)
	flags.StringVar(&o.settings.NodePluginImage, "node-plugin-image", cmp.Or(getenv(imageEnv), getenv(relatedImageEnv)),
		"node plugin image of drivers that set none; default: $"+imageEnv+" or $"+relatedImageEnv)
	flags.StringVar(&o.metricsAddress, "metrics-bind-address", ":8443", "address of the metrics, or 0 for none")
	flags.BoolVar(&o.metricsSecure, "metrics-secure", true,
		"serve the metrics by HTTPS, and only to those whom Kubernetes lets get the path /metrics; false: by HTTP, to everybody")
	flags.StringVar(&o.metricsCertPath, "metrics-cert-path", "",
		"directory with tls.crt and tls.key, with which the metrics are served; without them the operator makes a certificate")
	flags.StringVar(&o.healthAddress, "health-probe-bind-address", ":8081", "address of /healthz and /readyz")
	flags.BoolVar(&o.leaderElect, "leader-elect", false, "let one of several replicas work, the others wait")
	flags.TextVar(&o.logLevel, "log-level", slog.LevelInfo, "error, warn, info or debug")
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	if o.settings.Namespace == "" {
		return o, errors.New("no namespace for the node plugins: set --namespace, $" + pluginNamespaceEnv + " or $" + ownNamespaceEnv)
	}
	o.settings.OperatorNamespace = cmp.Or(getenv(ownNamespaceEnv), o.settings.Namespace)
	if o.settings.NodePluginImage == "" {
		return o, errors.New("no node plugin image: set --node-plugin-image, $" + imageEnv + " or $" + relatedImageEnv)
	}
	var err error
	o.spans, err = parseTracing(getenv)
	return o, err
}
