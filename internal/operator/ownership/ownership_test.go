package ownership

import (
	"encoding/json"
	"slices"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"
	"sigs.k8s.io/yaml"
)

const us = "us"

// applied is an entry of the record.
func applied(manager, fields string) metav1.ManagedFieldsEntry {
	entry := metav1.ManagedFieldsEntry{Manager: manager, Operation: metav1.ManagedFieldsOperationApply}
	if fields != "" {
		entry.FieldsV1 = metav1.NewFieldsV1(fields)
	}
	return entry
}

func updated(manager, fields string) metav1.ManagedFieldsEntry {
	entry := applied(manager, fields)
	entry.Operation = metav1.ManagedFieldsOperationUpdate
	return entry
}

func ofStatus(entry metav1.ManagedFieldsEntry) metav1.ManagedFieldsEntry {
	entry.Subresource = "status"
	return entry
}

// read is the object that a manifest describes.
func read[T runtime.Object](t *testing.T, manifest string, into T) T {
	t.Helper()
	if err := yaml.Unmarshal([]byte(manifest), into); err != nil {
		t.Fatal(err)
	}
	return into
}

func wantOf(t *testing.T, manifest string) *unstructured.Unstructured {
	t.Helper()
	var fields map[string]any
	if err := yaml.Unmarshal([]byte(manifest), &fields); err != nil {
		t.Fatal(err)
	}
	return &unstructured.Unstructured{Object: fields}
}

func TestHolds(t *testing.T) {
	const data = "{apiVersion: v1, kind: ConfigMap, metadata: {name: a, namespace: b}, data: {x: one, w: two}}"
	both := applied(us, `{"f:data":{"f:x":{},"f:w":{}}}`)
	for name, c := range map[string]struct {
		live   string
		record []metav1.ManagedFieldsEntry
		want   string
		holds  bool
	}{
		"what was applied":                     {data, []metav1.ManagedFieldsEntry{both}, data, true},
		"a value that somebody changed":        {data, []metav1.ManagedFieldsEntry{both}, "{data: {x: one, w: 2nd}}", false},
		"a field that is wanted since":         {data, []metav1.ManagedFieldsEntry{both}, "{data: {x: one, w: two, z: three}}", false},
		"a field that is wanted no more":       {data, []metav1.ManagedFieldsEntry{both}, "{data: {x: one}}", false},
		"a field that somebody took over":      {data, []metav1.ManagedFieldsEntry{applied(us, `{"f:data":{"f:x":{}}}`), updated("else", `{"f:data":{"f:w":{}}}`)}, data, false},
		"a field of somebody else's beside":    {data, []metav1.ManagedFieldsEntry{applied(us, `{"f:data":{"f:x":{}}}`), updated("else", `{"f:data":{"f:w":{}}}`)}, "{data: {x: one}}", true},
		"a field that was removed":             {"{data: {x: one}}", []metav1.ManagedFieldsEntry{both}, data, false},
		"no record":                            {data, nil, data, false},
		"a record that cannot be read":         {data, []metav1.ManagedFieldsEntry{applied(us, `{"f:data":`)}, data, false},
		"a record without fields":              {data, []metav1.ManagedFieldsEntry{applied(us, "")}, data, false},
		"the record of somebody else":          {data, []metav1.ManagedFieldsEntry{applied("else", `{"f:data":{"f:x":{},"f:w":{}}}`)}, data, false},
		"the owner's updates":                  {data, []metav1.ManagedFieldsEntry{updated(us, `{"f:data":{"f:x":{},"f:w":{}}}`)}, data, false},
		"what the owner applied to the status": {data, []metav1.ManagedFieldsEntry{ofStatus(both)}, data, false},
	} {
		t.Run(name, func(t *testing.T) {
			live := read(t, c.live, &corev1.ConfigMap{})
			live.ManagedFields = c.record
			if got := Holds(live, wantOf(t, c.want), us); got != c.holds {
				t.Errorf("holds: %v", got)
			}
			if len(c.record) > 0 && c.record[0].FieldsV1 != nil && !json.Valid(c.record[0].FieldsV1.GetRawBytes()) {
				return // which an object of no Go type cannot have
			}
			untyped := wantOf(t, c.live)
			untyped.SetManagedFields(c.record)
			if got := Holds(untyped, wantOf(t, c.want), us); got != c.holds {
				t.Errorf("an object of no Go type holds: %v", got)
			}
		})
	}
}

// Lists are the owner's by item, by value or as a whole, as the kind's schema says; the record tells which.
func TestHoldsOfLists(t *testing.T) {
	const live = `{spec: {template: {spec: {
		containers: [{name: other, image: sidecar}, {name: ours, image: one, args: [a, b], ports: [{containerPort: 80, protocol: TCP}]}],
		tolerations: [{operator: Exists}]}}}, metadata: {finalizers: [theirs, ours]}}`
	const record = `{"f:metadata":{"f:finalizers":{"v:\"ours\"":{}}},"f:spec":{"f:template":{"f:spec":{
		"f:containers":{"k:{\"name\":\"ours\"}":{".":{},"f:name":{},"f:image":{},"f:args":{},
			"f:ports":{"k:{\"containerPort\":80,\"protocol\":\"TCP\"}":{".":{},"f:containerPort":{},"f:protocol":{}}}}},
		"f:tolerations":{}}}}}`
	const args, ports, tolerations, finalizers = "args: [a, b]", "ports: [{containerPort: 80, protocol: TCP}]", "tolerations: [{operator: Exists}]", "finalizers: [ours]"
	for name, c := range map[string]struct {
		args, ports, tolerations, finalizers string
		holds                                bool
	}{
		"an item among others":         {args, ports, tolerations, finalizers, true},
		"a list in another order":      {"args: [b, a]", ports, tolerations, finalizers, false},
		"an item of another key":       {args, "ports: [{containerPort: 81, protocol: TCP}]", tolerations, finalizers, false},
		"an item more":                 {args, "ports: [{containerPort: 80, protocol: TCP}, {containerPort: 81, protocol: TCP}]", tolerations, finalizers, false},
		"a list as a whole":            {args, ports, "tolerations: [{operator: Exists, effect: NoSchedule}]", finalizers, false},
		"a value that is somebody's":   {args, ports, tolerations, "finalizers: [ours, theirs]", false},
		"a value that is another":      {args, ports, tolerations, "finalizers: [theirs]", false},
		"a list that is not there":     {"", ports, tolerations, finalizers, false},
		"an empty list, which is none": {args, "ports: []", tolerations, finalizers, false},
	} {
		t.Run(name, func(t *testing.T) {
			held := read(t, live, &appsv1.DaemonSet{})
			held.ManagedFields = []metav1.ManagedFieldsEntry{applied(us, record)}
			container := "{name: ours, image: one, " + c.ports
			if c.args != "" {
				container += ", " + c.args
			}
			want := "{metadata: {" + c.finalizers + "}, spec: {template: {spec: {containers: [" + container + "}], " + c.tolerations + "}}}}"
			// As the operator makes it, whose numbers are int64.
			typed, err := runtime.DefaultUnstructuredConverter.ToUnstructured(read(t, want, &appsv1.DaemonSet{}))
			if err != nil {
				t.Fatal(err)
			}
			delete(typed, "status")
			fields := wantOf(t, want)
			fields.Object = intersect(typed, fields.Object)
			if got := Holds(held, fields, us); got != c.holds {
				t.Errorf("holds: %v", got)
			}
		})
	}
}

// intersect keeps of typed what a manifest has: a struct has fields that are always written.
func intersect(typed, manifest map[string]any) map[string]any {
	out := map[string]any{}
	for key, value := range manifest {
		switch value := value.(type) {
		case map[string]any:
			out[key] = intersect(typed[key].(map[string]any), value)
		case []any:
			out[key] = intersectItems(typed[key], value)
		default:
			out[key] = typed[key]
		}
	}
	return out
}

func intersectItems(typed any, manifest []any) []any {
	out := []any{}
	items, _ := typed.([]any)
	for i, item := range manifest {
		if of, is := item.(map[string]any); is {
			out = append(out, intersect(items[i].(map[string]any), of))
		} else {
			out = append(out, items[i])
		}
	}
	return out
}

func TestTheRecordNamesItsWriters(t *testing.T) {
	const ours, both = `{"f:data":{"f:x":{}}}`, `{"f:data":{"f:x":{},"f:w":{}}}`
	object := &corev1.ConfigMap{}
	object.ManagedFields = []metav1.ManagedFieldsEntry{
		applied("b", both), updated("a", ours), applied(us, ours), updated(us, ours), ofStatus(updated("kubelet", ours)), applied("c", `{"f:data":`), updated("d", `{"f:data":{"f:z":{}}}`),
	}
	if got, want := Writers(object, fieldpath.MakePathOrDie("data", "x")), []string{"b", "a", us, us, "kubelet"}; !slices.Equal(got, want) {
		t.Errorf("writers %q, want %q", got, want)
	}
	if got, want := Others(object, us, Applied(object, us)), []string{"a", "b", us}; !slices.Equal(got, want) {
		t.Errorf("others %q, want %q", got, want)
	}
	for owner, want := range map[string]bool{us: true, "a": false, "c": true, "kubelet": false} {
		if HasApplied(object, owner) != want {
			t.Errorf("%s has applied it: %v", owner, !want)
		}
	}
	if Applied(object, "c") != nil {
		t.Error("a record that cannot be read has fields")
	}
}
