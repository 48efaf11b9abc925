package controllers_test

import (
	"cmp"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"

	"github.com/image-csi/image-csi-operator/api/v1alpha1"
	"github.com/image-csi/image-csi-operator/controllers"
	"github.com/image-csi/image-csi-operator/internal/contract"
	"github.com/image-csi/image-csi-operator/internal/operator/render"
)

// A hand edit is put back within putBack of the API server's answer to it. The operator takes a few hundredths of a second;
// but a machine that has other work, too, may stop it or this test for longer at any time. So the median of an object's
// fields is held to it, and a single field only to more than any such stop takes.
const (
	putBack     = time.Second
	longestStop = 8 * time.Second
)

// putBackInTime judges how long edits took to be put back.
func (c *cluster) putBackInTime(g Gomega, took []time.Duration) {
	c.Helper()
	slices.Sort(took)
	median, longest := took[len(took)/2], took[len(took)-1]
	c.Logf("%d edits, put back in %s (median), %s at most", len(took), median, longest)
	g.Expect(median).To(BeNumerically("<", putBack))
}

// owned is an object of the driver, as it is to be looked up, with what somebody else sets in it.
type owned struct {
	object *unstructured.Unstructured
	// theirs is what somebody else applies to it.
	theirs string
	// edits are words of fields that have to be among the edited ones: what the object is tested for.
	edits []string
}

// ownedObjects are the driver's objects of every kind.
func (c *cluster) ownedObjects() map[string]owned {
	c.Helper()
	optional := optionalObjects()
	object := func(gvk schema.GroupVersionKind, namespace, name string) *unstructured.Unstructured {
		out := &unstructured.Unstructured{}
		out.SetGroupVersionKind(gvk)
		out.SetNamespace(namespace)
		out.SetName(name)
		return out
	}
	daemonSet := schema.GroupVersionKind{Group: "apps", Version: "v1", Kind: "DaemonSet"}
	csiDriver := schema.GroupVersionKind{Group: "storage.k8s.io", Version: "v1", Kind: "CSIDriver"}
	c.Eventually(c.profileCount(), soon).Should(Equal(1))
	const pod = `{"spec": {"revisionHistoryLimit": 3, "template": {"metadata": {"annotations": {"example.com/restarted": "today"}},
		"spec": {"dnsPolicy": "Default", "containers": [{"name": "node-plugin", "env": [{"name": "THEIRS", "value": "x"}]}]}}}}`
	csiDriverEdits := []string{"podInfoOnMount"}
	if c.serves(render.TokensInSecrets()) {
		csiDriverEdits = []string{"tokenRequests"}
	}
	return map[string]owned{
		"PodMonitor":                 {optional["PodMonitor"], `{"spec": {"jobLabel": "theirs"}}`, nil},
		"PrometheusRule":             {optional["PrometheusRule"], `{"spec": {"groups": [{"name": "theirs", "rules": []}]}}`, nil},
		"SecurityContextConstraints": {optional["SecurityContextConstraints"], `{"allowedUnsafeSysctls": ["theirs"]}`, nil},
		"SeccompProfile": {object(render.SeccompProfile().GroupVersionKind, "", c.profiles()[0].GetName()),
			`{"spec": {"listenerPath": "theirs"}}`, []string{"defaultAction", "syscalls"}},
		"DaemonSet of a privileged class": {object(daemonSet, namespace, render.DaemonSetName(driverName, "crio")), pod,
			[]string{"mountPropagation"}},
		"DaemonSet of a class without privileges": {object(daemonSet, namespace, render.DaemonSetName(driverName, "containerd")), pod,
			[]string{"privileged", "capabilities.add", "capabilities.drop", "appArmorProfile.type", "seLinuxOptions.type", "seccompProfile.type",
				`[name="credential-provider"].securityContext`, `[name="credentials"].projected.sources`, "imagePullSecrets"}},
		"CSIDriver":             {object(csiDriver, "", driverName), `{"spec": {"requiresRepublish": true}}`, csiDriverEdits},
		"CSIDriver of an alias": {object(csiDriver, "", "alias.example.com"), `{"spec": {"requiresRepublish": true}}`, []string{"podInfoOnMount"}},
		"ServiceAccount": {object(schema.GroupVersionKind{Version: "v1", Kind: "ServiceAccount"}, namespace, render.ServiceAccountName(driverName)),
			`{"secrets": [{"name": "theirs"}]}`, nil},
		"ConfigMap": {object(schema.GroupVersionKind{Version: "v1", Kind: "ConfigMap"}, namespace, render.ImageRulesName(driverName)),
			`{"data": {"theirs": "x"}}`, []string{contract.ImageRulesKey}},
	}
}

// The server's record of who owns what tells which fields there are to edit, so none is forgotten.
func TestEveryOwnedFieldOfEveryObjectIsRepaired(t *testing.T) {
	c := newCluster(t).start()
	c.installKinds()
	c.node("one", "cri-o://1.36.3")
	c.node("two", "containerd://2.1.4")
	c.driver(driverName, seccompOf(v1alpha1.SeccompNarrow), func(d *v1alpha1.ImageCSIDriver) {
		d.Spec.Aliases = []v1alpha1.DriverName{"alias.example.com"}
		d.Spec.NodePlugin.ImagePullSecrets = []v1alpha1.SecretName{{Name: "pull"}}
		d.Spec.Credentials.Secrets = []v1alpha1.SecretName{{Name: "registry"}}
		d.Spec.Credentials.Providers = credentialProviders()
	})
	c.allOptional(true)
	for kind, owned := range c.ownedObjects() {
		object := owned.object
		t.Run(kind, func(t *testing.T) {
			g := NewWithT(t)
			g.Eventually(c.exists(object), soon).Should(BeTrue())
			g.Expect(c.applyTheirs(owned)).To(Succeed())
			var took []time.Duration
			var edited strings.Builder
			g.Expect(c.exists(object)()).To(BeTrue())
			for _, path := range ownedLeaves(g, object) {
				if after, is := c.edit(g, object, path); is {
					took = append(took, after)
					fmt.Fprintln(&edited, path)
				}
			}
			g.Expect(len(took)).To(BeNumerically(">", 4), "hardly a field could be edited")
			for _, word := range owned.edits {
				g.Expect(edited.String()).To(ContainSubstring(word))
			}
			c.putBackInTime(g, took)
			g.Expect(c.exists(object)()).To(BeTrue())
			live := object.DeepCopy()
			g.Expect(c.applyTheirs(owned, client.DryRunAll)).To(Succeed())
			g.Expect(content(object)).To(Equal(content(live)), "others' fields survive")
			g.Expect(live.GetAnnotations()).To(HaveKeyWithValue("example.com/note", "kept"))

			uid := object.GetUID()
			g.Expect(c.Delete(c.ctx, object, client.PropagationPolicy("Background"))).To(Succeed())
			g.Eventually(func() bool { return c.exists(object)() && object.GetUID() != uid }, longestStop).Should(BeTrue(), "it comes back")
		})
	}
}

// Nothing else has the operator look at a quiet node. The operator's program collects changes of nodes for a second before
// it looks at them together, which comes on top of the time here.
func TestTheClassOfAQuietNodeIsPutBack(t *testing.T) {
	c := newCluster(t).start()
	served(c, 1)
	var took []time.Duration
	for _, hand := range []string{`"evil"`, `"crio"`, `null`} {
		c.settle()
		node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n0"}}
		c.Expect(c.Patch(c.ctx, node, mergePatch(`{"metadata": {"labels": {"`+contract.NodeClassLabel+`": `+hand+`}}}`))).To(Succeed())
		answered := time.Now()
		c.Expect(node.Labels[contract.NodeClassLabel]).NotTo(Equal("containerd"))
		c.Eventually(c.classOf("n0"), longestStop, 5*time.Millisecond).Should(Equal("containerd"), hand)
		took = append(took, time.Since(answered))
	}
	c.putBackInTime(c, took)
}

// applyTheirs sets fields of somebody else's in an object, which then is the server's answer.
func (c *cluster) applyTheirs(of owned, options ...client.PatchOption) error {
	theirs := &unstructured.Unstructured{}
	if err := json.Unmarshal([]byte(of.theirs), &theirs.Object); err != nil {
		return err
	}
	theirs.SetGroupVersionKind(of.object.GroupVersionKind())
	theirs.SetNamespace(of.object.GetNamespace())
	theirs.SetName(of.object.GetName())
	theirs.SetAnnotations(map[string]string{"example.com/note": "kept"})
	text, err := json.Marshal(theirs)
	if err != nil {
		return err
	}
	return c.Patch(c.ctx, of.object, client.RawPatch(types.ApplyPatchType, text), append(options, client.FieldOwner("somebody"))...)
}

// ownedLeaves are the fields of an object that the operator owns by the server's record, without what identifies the
// items of lists: to change that is to take one item away and to add another. What a rollout remembers is left out, too:
// it is nowhere else. So is the level of a CSIDriver for inline volumes, which is left to who sets it.
func ownedLeaves(g Gomega, object *unstructured.Unstructured) []fieldpath.Path {
	var out []fieldpath.Path
	for _, entry := range object.GetManagedFields() {
		if entry.Manager != string(controllers.FieldOwner) || entry.Subresource != "" {
			continue
		}
		owned := fieldpath.NewSet()
		g.Expect(owned.FromJSON(entry.FieldsV1.GetRawReader())).To(Succeed())
		owned.Leaves().Iterate(func(path fieldpath.Path) {
			last := path[len(path)-1]
			if last.FieldName == nil || *last.FieldName != contract.RolloutAnnotation && *last.FieldName != profileLabel && (len(path) < 2 || !isKey(path[len(path)-2], *last.FieldName)) {
				out = append(out, path.Copy())
			}
		})
	}
	g.Expect(out).NotTo(BeEmpty())
	return out
}

func isKey(item fieldpath.PathElement, field string) bool {
	if item.Key == nil {
		return false
	}
	for _, key := range *item.Key {
		if key.Name == field {
			return true
		}
	}
	return false
}

// edit changes a field by hand, or takes it away if the server takes no other value, and wants it put back. It says after
// what time it was, and whether the server let it: some fields of these kinds can never change.
func (c *cluster) edit(g Gomega, object *unstructured.Unstructured, path fieldpath.Path) (time.Duration, bool) {
	c.Helper()
	want, found := get(object.Object, path)
	g.Expect(found).To(BeTrue(), "%s is owned and not there", path)
	for _, change := range []func(any) any{another, func(any) any { return nil }} {
		g.Expect(c.exists(object)()).To(BeTrue())
		edited := object.DeepCopy()
		set(edited.Object, path, change(runtime.DeepCopyJSONValue(want)))
		if err := c.Update(c.ctx, edited); err != nil {
			continue
		}
		answered := time.Now()
		if now, _ := get(edited.Object, path); reflect.DeepEqual(now, want) {
			continue // The server has put it back itself.
		}
		g.Eventually(func() any {
			g.Expect(c.exists(object)()).To(BeTrue())
			now, _ := get(object.Object, path)
			return now
		}, longestStop, 5*time.Millisecond).Should(Equal(want), path.String())
		return time.Since(answered), true
	}
	c.Log("no hand can change", path)
	return 0, false
}

// another returns a value of the same type, or nil, for none, where it knows no other.
func another(value any) any {
	switch value := value.(type) {
	case string:
		return cmp.Or(map[string]string{"IfNotPresent": "Always", "HTTP": "HTTPS", "RuntimeDefault": "Unconfined", "Unconfined": "RuntimeDefault",
			"SCMP_ACT_ERRNO": "SCMP_ACT_ALLOW"}[value], value+"x")
	case map[string]any:
		if _, is := value["fieldPath"]; is {
			return map[string]any{"fieldPath": "metadata.name"}
		}
		for key := range value {
			value[key] = another(value[key])
		}
		return value
	case bool:
		return !value
	case int64:
		return value + 1
	case []any:
		switch len(value) {
		case 0:
			return []any{"x"}
		case 1:
			return []any{another(value[0])}
		}
		return value[1:]
	}
	return nil
}

// get returns the value at a path of an object.
func get(from any, path fieldpath.Path) (any, bool) {
	if len(path) == 0 {
		return from, true
	}
	switch fields := from.(type) {
	case map[string]any:
		if value, has := fields[*path[0].FieldName]; has {
			return get(value, path[1:])
		}
	case []any:
		if i := indexOf(fields, path[0]); i >= 0 {
			return get(fields[i], path[1:])
		}
	}
	return nil, false
}

// set changes the field at a path; nil takes it away. A member of a set is taken away in any case.
func set(in any, path fieldpath.Path, value any) {
	last, above := path[len(path)-1], path[:len(path)-1]
	parent, _ := get(in, above)
	switch parent := parent.(type) {
	case []any:
		at := indexOf(parent, last)
		set(in, above, slices.Concat(parent[:at], parent[at+1:]))
	case map[string]any:
		if parent[*last.FieldName] = value; value == nil {
			delete(parent, *last.FieldName)
		}
	}
}

// indexOf finds an item of a list by its keys, or its value.
func indexOf(items []any, at fieldpath.PathElement) int {
	if at.Value != nil {
		return slices.IndexFunc(items, func(item any) bool { return reflect.DeepEqual(item, (*at.Value).Unstructured()) })
	}
	for i, item := range items {
		fields, is := item.(map[string]any)
		same := is && at.Key != nil
		if same {
			for _, key := range *at.Key {
				same = same && fmt.Sprint(fields[key.Name]) == fmt.Sprint(key.Value.Unstructured()) // a number is one of two types
			}
		}
		if same {
			return i
		}
	}
	return -1
}
