package controllers_test

import (
	"cmp"
	"fmt"
	"reflect"
	"slices"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"

	"github.com/image-csi/image-csi-operator/controllers"
	"github.com/image-csi/image-csi-operator/internal/contract"
	"github.com/image-csi/image-csi-operator/internal/operator/render"
)

// ownedObjects are the driver's objects of every kind, as they are to be looked up.
func ownedObjects() map[string]*unstructured.Unstructured {
	objects := optionalObjects()
	for kind, gvk := range map[string]schema.GroupVersionKind{
		"DaemonSet":      {Group: "apps", Version: "v1", Kind: "DaemonSet"},
		"CSIDriver":      {Group: "storage.k8s.io", Version: "v1", Kind: "CSIDriver"},
		"ServiceAccount": {Version: "v1", Kind: "ServiceAccount"},
	} {
		objects[kind] = &unstructured.Unstructured{}
		objects[kind].SetGroupVersionKind(gvk)
		objects[kind].SetNamespace(namespace)
	}
	objects["DaemonSet"].SetName(render.DaemonSetName(driverName, "crio"))
	objects["ServiceAccount"].SetName(render.ServiceAccountName(driverName))
	objects["CSIDriver"].SetName(driverName)
	objects["CSIDriver"].SetNamespace("")
	return objects
}

// The server's record of who owns what tells which fields there are to edit, so none is forgotten.
func TestEveryOwnedFieldOfEveryObjectIsRepaired(t *testing.T) {
	c := newCluster(t).start()
	c.installKinds()
	c.node("one", "cri-o://1.36.3")
	c.driver(driverName)
	c.allOptional(true)
	for kind, object := range ownedObjects() {
		t.Run(kind, func(t *testing.T) {
			g := NewWithT(t)
			g.Eventually(c.exists(object), soon).Should(BeTrue())
			c.change(object, func() { object.SetAnnotations(withNote(object.GetAnnotations())) })
			edits, start := 0, time.Now()
			for _, path := range ownedLeaves(g, object) {
				if c.edit(g, object, path) {
					edits++
				}
			}
			g.Expect(edits).To(BeNumerically(">", 4), "hardly a field could be edited")
			t.Logf("%d fields, %s each", edits, time.Since(start)/time.Duration(edits))
			g.Expect(object.GetAnnotations()).To(HaveKeyWithValue("example.com/note", "kept"), "others' fields survive")

			uid := object.GetUID()
			g.Expect(c.Delete(c.ctx, object, client.PropagationPolicy("Background"))).To(Succeed())
			g.Eventually(func() bool { return c.exists(object)() && object.GetUID() != uid }, soon).Should(BeTrue(), "it comes back")
		})
	}
}

func withNote(annotations map[string]string) map[string]string {
	out := map[string]string{"example.com/note": "kept"}
	for key, value := range annotations {
		out[key] = value
	}
	return out
}

// ownedLeaves are the fields of an object that the operator owns by the server's record, without what identifies the
// items of lists: to change that is to take one item away and to add another. What a rollout remembers is left out, too:
// it is nowhere else.
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
			if last.FieldName == nil || *last.FieldName != contract.RolloutAnnotation && (len(path) < 2 || !isKey(path[len(path)-2], *last.FieldName)) {
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

// edit changes a field by hand, or takes it away if the server takes no other value, and wants it put back. It says
// whether the server let it: some fields of these kinds can never change.
func (c *cluster) edit(g Gomega, object *unstructured.Unstructured, path fieldpath.Path) bool {
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
		if now, _ := get(edited.Object, path); reflect.DeepEqual(now, want) {
			continue // The server has put it back itself.
		}
		g.Eventually(func() any {
			g.Expect(c.exists(object)()).To(BeTrue())
			now, _ := get(object.Object, path)
			return now
		}, soon, 20*time.Millisecond).Should(Equal(want), path.String())
		return true
	}
	c.Log("no hand can change", path)
	return false
}

// another returns a value of the same type, or nil, for none, where it knows no other.
func another(value any) any {
	switch value := value.(type) {
	case string:
		return cmp.Or(map[string]string{"IfNotPresent": "Always", "HTTP": "HTTPS"}[value], value+"x")
	case map[string]any:
		if _, is := value["fieldPath"]; is {
			return map[string]any{"fieldPath": "metadata.name"}
		}
	case bool:
		return !value
	case int64:
		return value + 1
	case []any:
		if len(value) == 0 {
			return []any{"x"}
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
