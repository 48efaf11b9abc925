package main

// part is a kustomize build that the chart has, as a whole or not at all.
type part struct {
	name  string // of its directory in config/
	value string // switches it on; a part without one is always there
}

var parts = []part{
	{name: "default"},
	{name: "mutation", value: "mutation.enabled"},
	{name: "network", value: "networkPolicies.enabled"},
	{name: "monitoring", value: "monitoring.enabled"},
	{name: "dashboard", value: "dashboard.enabled"},
}

// switches are the values that switch on all objects of a kind, beside those of parts.
var switches = map[string]string{
	"CustomResourceDefinition":         "crds.install",
	"ValidatingAdmissionPolicy":        "admissionPolicies.enabled",
	"ValidatingAdmissionPolicyBinding": "admissionPolicies.enabled",
}

// form is how a value becomes a part of an object.
type form int

const (
	whole         form = iota // the value in place of what stands there, which is its default
	optional                  // the value where nothing stands, and nothing if it is empty
	appended                  // the value's items, or keys, after those that stand there
	managerImage              // an image, made of image.*
	pluginImage               // nodePlugin.image, or else the manager's
	ownNamespace              // the namespace of the release
	pluginsInside             // the namespace of the node plugins
)

// place is where a value goes, in every object of a kind or in all objects.
type place struct {
	kind string
	path []string // keys; "name=x" is the item of a list with this name, and "#" stands for each item
	form form
}

// value is a value of the chart, and the only place that knows it.
type value struct {
	name    string
	help    string
	schema  schema
	initial any // the default of a value that does not replace what stands in config/
	at      []place
}

// schema is a JSON schema.
type schema map[string]any

var (
	textual   = schema{"type": "string"}
	switching = schema{"type": "boolean"}
	object    = schema{"type": "object"}
	list      = schema{"type": "array"}
	labels    = schema{"type": "object", "additionalProperties": textual}
)

func in(kind string, form form, path ...string) place { return place{kind, path, form} }

// pod is a place in the manager's pod.
func pod(form form, path ...string) place {
	return in("Deployment", form, append([]string{"spec", "template"}, path...)...)
}

// manager is a place in the manager's container.
func manager(form form, path ...string) place {
	return pod(form, append([]string{"spec", "containers", "name=manager"}, path...)...)
}

var values = []value{
	{name: "image.repository", help: "Registry and name of the operator's image, which is the node plugins', too.", schema: textual,
		at: []place{manager(managerImage, "image")}}, // and the tag and the digest
	{name: "image.tag", help: "The image's tag.", schema: textual},
	{name: "image.digest", help: "The image's digest, as in sha256:…, which takes precedence over the tag.",
		schema: schema{"type": "string", "pattern": "^(sha256:[0-9a-f]{64})?$"}},
	{name: "image.pullPolicy", help: "When a node pulls the manager's image.", schema: schema{"enum": []string{"Always", "IfNotPresent", "Never"}},
		at: []place{manager(whole, "imagePullPolicy")}},
	{name: "imagePullSecrets", help: "Secrets of the release's namespace with credentials for the manager's image.", schema: list, initial: []any{},
		at: []place{pod(optional, "spec", "imagePullSecrets")}},
	{name: "nodePlugin.image", help: "The node plugins' image, if it is not the manager's.", schema: textual, initial: "",
		at: []place{manager(pluginImage, "env", "name=RELATED_IMAGE_NODE_PLUGIN", "value"), in("Namespace", pluginImage, "metadata", "annotations", "imagecsi.dev/node-plugin-image")}},
	{name: "nodePlugin.namespace", help: "The namespace of the node plugins and of the secrets that drivers name. The chart creates it, at the Pod Security level privileged, unless it is the release's.",
		schema: schema{"type": "string", "maxLength": 63, "pattern": "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"}, initial: "image-csi-system"},
	{name: "replicas", help: "Managers, of which one works and the others wait.", schema: schema{"type": "integer", "minimum": 0},
		at: []place{in("Deployment", whole, "spec", "replicas")}},
	{name: "resources", help: "The manager's.", schema: object, at: []place{manager(whole, "resources")}},
	{name: "priorityClassName", help: "The manager's.", schema: textual, at: []place{pod(whole, "spec", "priorityClassName")}},
	{name: "nodeSelector", help: "Nodes for the manager.", schema: labels, at: []place{pod(whole, "spec", "nodeSelector")}},
	{name: "tolerations", help: "Taints that the manager tolerates.", schema: list, initial: []any{}, at: []place{pod(optional, "spec", "tolerations")}},
	{name: "affinity", help: "The manager's.", schema: object, initial: map[string]any{}, at: []place{pod(optional, "spec", "affinity")}},
	{name: "podAnnotations", help: "Further annotations of the manager's pods.", schema: labels, initial: map[string]any{},
		at: []place{pod(appended, "metadata", "annotations")}},
	{name: "podLabels", help: "Further labels of the manager's pods.", schema: labels, initial: map[string]any{},
		at: []place{pod(appended, "metadata", "labels")}},
	{name: "extraArgs", help: "Further flags of the manager, as in --log-level=debug.", schema: schema{"type": "array", "items": textual}, initial: []any{},
		at: []place{manager(appended, "args")}},
	{name: "extraEnv", help: "Further environment variables of the manager, e.g. for traces.", schema: list, initial: []any{},
		at: []place{manager(appended, "env")}},
	{name: "crds.install", help: "Install the CustomResourceDefinition of ImageCSIDrivers.", schema: switching, initial: true},
	{name: "admissionPolicies.enabled", help: "Install the policies that hold the operator's account to its own objects, and drivers and volumes to rules.",
		schema: switching, initial: true},
	{name: "mutation.enabled", help: "Have read-only volumes keep nosuid and nodev in pods; for Kubernetes 1.36 and newer.", schema: switching, initial: false},
	{name: "networkPolicies.enabled", help: "Let only what has to reach the manager and the node plugins, e.g. Prometheus in the namespace monitoring.",
		schema: switching, initial: false},
	{name: "monitoring.enabled", help: "Install a ServiceMonitor and an alert; needs the Prometheus operator.", schema: switching, initial: false},
	{name: "dashboard.enabled", help: "Install the Grafana dashboard, as a ConfigMap that Grafana's sidecar finds.", schema: switching, initial: false},
	{name: "dashboard.labels", help: "The dashboard's labels. The sidecar finds the last by default.", schema: labels,
		at: []place{in("ConfigMap", whole, "metadata", "labels")}},
	{name: "dashboard.annotations", help: "The dashboard's annotations, e.g. grafana_folder.", schema: labels, initial: map[string]any{},
		at: []place{in("ConfigMap", optional, "metadata", "annotations")}},
}

// everywhere are the places of namespaces, by the names that they have in config/.
var everywhere = []struct {
	name  string
	place place
}{
	{ownName, in("", ownNamespace, "metadata", "namespace")},
	{ownName, in("", ownNamespace, "subjects", "#", "namespace")},
	{ownName, in("Namespace", ownNamespace, "metadata", "annotations", "imagecsi.dev/operator-namespace")},
	{pluginsName, in("", pluginsInside, "metadata", "namespace")},
	{pluginsName, in("Namespace", pluginsInside, "metadata", "name")},
	{pluginsName, manager(pluginsInside, "env", "name=NODE_PLUGIN_NAMESPACE", "value")},
}

// The namespaces in config/. Helm creates the release's, so the chart does not have the first.
const (
	ownName     = "image-csi-operator"
	pluginsName = "image-csi-system"
)
