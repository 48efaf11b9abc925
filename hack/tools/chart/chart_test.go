package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
	"helm.sh/helm/v4/pkg/chart/common"
	"helm.sh/helm/v4/pkg/chart/common/util"
	"helm.sh/helm/v4/pkg/chart/v2/lint"
	"helm.sh/helm/v4/pkg/chart/v2/lint/support"
	"helm.sh/helm/v4/pkg/chart/v2/loader"
	"helm.sh/helm/v4/pkg/engine"
)

const root = "../../.."

var charts = filepath.Join(root, "charts", "image-csi-operator")

// objects are by kind and name.
type objects map[string]any

func decode(t *testing.T, text []byte) objects {
	t.Helper()
	all := objects{}
	for documents := yaml.NewDecoder(bytes.NewReader(text)); ; {
		var object map[string]any
		if err := documents.Decode(&object); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatalf("%v in\n%s", err, text)
		}
		if object != nil {
			key := fmt.Sprint(object["kind"], " ", object["metadata"].(map[string]any)["name"])
			if all[key] != nil {
				t.Errorf("two objects are %s", key)
			}
			all[key] = object
		}
	}
}

// built are the objects of kustomize builds.
func built(t *testing.T, names ...string) objects {
	t.Helper()
	all := objects{}
	for _, part := range parts {
		if !slices.Contains(names, part.name) {
			continue
		}
		out, err := kustomize(filepath.Join(root, "config", part.name))
		if err != nil {
			t.Fatal(err)
		}
		maps.Copy(all, decode(t, out))
	}
	return all
}

// rendered are the objects of the chart that is checked in, without its hook, which test/install tries.
func rendered(t *testing.T, namespace string, set map[string]any) objects {
	t.Helper()
	all, err := render(namespace, set)
	if err != nil {
		t.Fatal(err)
	}
	return decode(t, all)
}

func render(namespace string, set map[string]any) ([]byte, error) {
	loaded, err := loader.LoadDir(charts)
	if err != nil {
		return nil, err
	}
	values, err := util.ToRenderValues(loaded, set, common.ReleaseOptions{Name: "images", Namespace: namespace, IsInstall: true}, nil)
	if err != nil {
		return nil, err
	}
	files, err := engine.Render(loaded, values)
	if err != nil {
		return nil, err
	}
	var all bytes.Buffer
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if strings.HasSuffix(name, ".yaml") && !strings.Contains(files[name], "helm.sh/hook:") {
			fmt.Fprintf(&all, "---\n%s\n", files[name])
		}
	}
	return all.Bytes(), nil
}

// nested is a value at a name with dots.
func nested(name string, content any) map[string]any {
	for _, key := range slices.Backward(strings.Split(name, ".")) {
		content = map[string]any{key: content}
	}
	return content.(map[string]any)
}

func differences(one, two any, path string) []string {
	a, isMap := one.(map[string]any)
	b, both := two.(map[string]any)
	if isMap && both {
		var all []string
		for _, key := range slices.Sorted(maps.Keys(joined(a, b))) {
			all = append(all, differences(a[key], b[key], path+"/"+key)...)
		}
		return all
	}
	c, isList := one.([]any)
	d, both := two.([]any)
	if isList && both && len(c) == len(d) {
		var all []string
		for i := range c {
			all = append(all, differences(c[i], d[i], fmt.Sprint(path, "/", i))...)
		}
		return all
	}
	if reflect.DeepEqual(one, two) {
		return nil
	}
	return []string{path}
}

func joined(a, b map[string]any) map[string]any {
	all := maps.Clone(a)
	maps.Copy(all, b)
	return all
}

func TestTheChartIsWhatKustomizeBuilds(t *testing.T) {
	everything := map[string]any{"mutation": nested("enabled", true), "networkPolicies": nested("enabled", true), "monitoring": nested("enabled", true), "dashboard": nested("enabled", true)}
	for name, c := range map[string]struct {
		set   map[string]any
		parts []string
	}{
		"by default": {nil, []string{"default"}},
		"with all":   {everything, []string{"default", "mutation", "network", "monitoring", "dashboard"}},
	} {
		t.Run(name, func(t *testing.T) {
			want, got := built(t, c.parts...), rendered(t, ownName, c.set)
			delete(want, "Namespace "+ownName) // Helm's
			kept := want["Namespace "+pluginsName].(map[string]any)["metadata"].(map[string]any)["annotations"].(map[string]any)
			kept["helm.sh/resource-policy"] = "keep"
			if len(want) < 30 {
				t.Errorf("%d objects are built", len(want))
			}
			for _, path := range differences(map[string]any(want), map[string]any(got), "") {
				t.Errorf("%s differs", path)
			}
		})
	}
}

// samples are another content of each value, and the places that it changes, and nothing else.
var samples = map[string]struct {
	content any
	changes []string
}{
	"image.repository":          {"registry.example/x", image},
	"image.tag":                 {"v9.9.9", image},
	"image.digest":              {"sha256:" + strings.Repeat("0", 64), image},
	"image.pullPolicy":          {"Always", []string{container + "/imagePullPolicy"}},
	"imagePullSecrets":          {[]any{map[string]any{"name": "a"}}, []string{podSpec + "/imagePullSecrets"}},
	"nodePlugin.image":          {"registry.example/y:1", image[1:]},
	"nodePlugin.namespace":      {"plugins", nil}, // see TestOtherNamespaces
	"replicas":                  {3, []string{deployment + "/spec/replicas"}},
	"resources":                 {map[string]any{"limits": map[string]any{"memory": "1Gi"}}, []string{container + "/resources/limits/memory"}},
	"priorityClassName":         {"", []string{podSpec + "/priorityClassName"}},
	"nodeSelector":              {map[string]any{"a/b": "c"}, []string{podSpec + "/nodeSelector/a/b"}},
	"tolerations":               {[]any{map[string]any{"operator": "Exists"}}, []string{podSpec + "/tolerations"}},
	"affinity":                  {map[string]any{"nodeAffinity": map[string]any{}}, []string{podSpec + "/affinity"}},
	"podAnnotations":            {map[string]any{"a": "b"}, []string{deployment + "/spec/template/metadata/annotations/a"}},
	"podLabels":                 {map[string]any{"a": "b"}, []string{deployment + "/spec/template/metadata/labels/a"}},
	"extraArgs":                 {[]any{"--log-level=debug"}, []string{container + "/args"}},
	"extraEnv":                  {[]any{map[string]any{"name": "A", "value": "b"}}, []string{container + "/env"}},
	"crds.install":              {false, []string{"/CustomResourceDefinition imagecsidrivers.storage.imagecsi.dev"}},
	"admissionPolicies.enabled": {false, nil},
	"mutation.enabled":          {true, nil},
	"networkPolicies.enabled":   {true, nil},
	"monitoring.enabled":        {true, nil},
	"dashboard.enabled":         {true, []string{"/ConfigMap image-csi-dashboard"}},
	"dashboard.labels":          {map[string]any{"a": "b"}, []string{dashboard + "/labels/a"}},
	"dashboard.annotations":     {map[string]any{"grafana_folder": "b"}, []string{dashboard + "/annotations"}},
}

const (
	deployment = "/Deployment image-csi-operator"
	podSpec    = deployment + "/spec/template/spec"
	container  = podSpec + "/containers/0"
	dashboard  = "/ConfigMap image-csi-dashboard/metadata"
)

var image = []string{container + "/image", container + "/env/2/value", "/Namespace image-csi-system/metadata/annotations/imagecsi.dev/node-plugin-image"}

func TestEveryValueChangesItsPlacesAndNothingElse(t *testing.T) {
	before := rendered(t, ownName, nil)
	for _, value := range values {
		sample, has := samples[value.name]
		if !has {
			t.Errorf("no sample of %s", value.name)
			continue
		}
		on, set := switchedOn(value.name), nested(value.name, sample.content)
		for group, values := range on {
			maps.Copy(set[group].(map[string]any), values.(map[string]any))
		}
		changed := differences(map[string]any(rendered(t, ownName, on)), map[string]any(rendered(t, ownName, set)), "")
		if len(changed) == 0 {
			t.Errorf("%s changes nothing", value.name)
		}
		if sample.changes != nil && !reflect.DeepEqual(slices.Sorted(slices.Values(changed)), slices.Sorted(slices.Values(sample.changes))) {
			t.Errorf("%s changes %q, want %q", value.name, changed, sample.changes)
		}
	}
	for _, path := range differences(map[string]any(before), map[string]any(rendered(t, ownName, nested("admissionPolicies.enabled", false))), "") {
		if !strings.HasPrefix(path, "/ValidatingAdmissionPolicy") || strings.Count(path, "/") > 1 {
			t.Errorf("admissionPolicies.enabled changes %s", path)
		}
	}
}

// switchedOn has the part whose value it is, if it is one of a part.
func switchedOn(name string) map[string]any {
	group, _, _ := strings.Cut(name, ".")
	on := group + ".enabled"
	if name == on || !slices.ContainsFunc(parts, func(p part) bool { return p.value == on }) {
		return nil
	}
	return nested(on, true)
}

func TestOtherNamespaces(t *testing.T) {
	all := nested("enabled", true)
	set := map[string]any{"mutation": all, "networkPolicies": all, "monitoring": all, "dashboard": all, "nodePlugin": nested("namespace", "plugins")}
	text, err := render("elsewhere", set)
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(text, []byte(pluginsName)) {
		t.Errorf("%s is still named", pluginsName)
	}
	if found := regexp.MustCompile(`(?m)^.*namespace["': ]+` + ownName + `.*$`).Find(text); found != nil {
		t.Errorf("the namespace %s is still named: %s", ownName, found)
	}
	for key, object := range decode(t, text) {
		namespace, has := object.(map[string]any)["metadata"].(map[string]any)["namespace"]
		if has && namespace != "elsewhere" && namespace != "plugins" {
			t.Errorf("%s is in the namespace %s", key, namespace)
		}
	}
	one := rendered(t, "plugins", set)
	for key := range one {
		if strings.HasPrefix(key, "Namespace ") {
			t.Errorf("in one namespace, which Helm creates, there is %s", key)
		}
	}
}

func TestWhatIsNoValueIsRefused(t *testing.T) {
	for name, set := range map[string]map[string]any{
		"unknown":         {"replica": 2},
		"unknown, nested": nested("image.name", "x"),
		"of another type": {"replicas": "two"},
		"no digest":       nested("image.digest", "v1"),
		"no namespace":    nested("nodePlugin.namespace", "Node Plugins"),
		"no policy":       nested("image.pullPolicy", "Sometimes"),
	} {
		if _, err := render(ownName, set); err == nil {
			t.Errorf("%s: %v is accepted", name, set)
		}
	}
	if _, err := render(ownName, map[string]any{"global": map[string]any{"x": 1}}); err != nil {
		t.Error(err)
	}
}

func TestHelmFindsNothingToSay(t *testing.T) {
	found := lint.RunAll(charts, nil, ownName)
	for _, message := range found.Messages {
		if message.Severity > support.InfoSev {
			t.Errorf("%s: %v", message.Path, message.Err)
		}
	}
}

func TestTheChartsVersionIsTheMakefiles(t *testing.T) {
	makefile, err := os.ReadFile(filepath.Join(root, "Makefile"))
	if err != nil {
		t.Fatal(err)
	}
	version := regexp.MustCompile(`(?m)^VERSION \?= (\S+)$`).FindSubmatch(makefile)
	metadata, err := os.ReadFile(filepath.Join(charts, "Chart.yaml"))
	if err != nil || version == nil || !bytes.Contains(metadata, []byte("\nversion: "+string(version[1])+"\n")) {
		t.Errorf("the Makefile has %q, and Chart.yaml (%v) is\n%s", version, err, metadata)
	}
}
