package writing

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/image-csi/image-csi-operator/api/v1alpha1"
	"github.com/image-csi/image-csi-operator/internal/cli/handover"
	"github.com/image-csi/image-csi-operator/internal/contract"
)

// fieldOwner is the field manager of what is written.
const fieldOwner = client.FieldOwner("kubectl-imagecsi")

// Writer writes to one cluster.
type Writer struct{ client client.Client }

// New returns a writer for the cluster that a configuration leads to. It asks nothing yet.
func New(config *rest.Config) (*Writer, error) {
	scheme := runtime.NewScheme()
	if err := errors.Join(clientgoscheme.AddToScheme(scheme), v1alpha1.AddToScheme(scheme)); err != nil {
		return nil, fmt.Errorf("register API types: %w", err)
	}
	c, err := client.New(config, client.Options{Scheme: scheme})
	if err != nil {
		return nil, fmt.Errorf("prepare to change the cluster at %s: %w", config.Host, err)
	}
	return &Writer{c}, nil
}

// Take takes a step that was decided by what was seen. Where the cluster has changed since, the API server may refuse it; then nothing
// has happened.
func (w *Writer) Take(ctx context.Context, step handover.Step, cluster handover.Cluster, objects handover.Objects) error {
	if err := w.take(ctx, step, cluster, objects); err != nil {
		return fmt.Errorf("%s: %w", step, err)
	}
	return nil
}

func (w *Writer) take(ctx context.Context, step handover.Step, cluster handover.Cluster, objects handover.Objects) error {
	switch step.Kind {
	case handover.Prepare:
		return w.onSet(ctx, step.On, objects, func(set handover.LegacySet) (any, error) { return prepared(set, objects.CSIDrivers) })
	case handover.Restore:
		return w.onSet(ctx, step.On, objects, restored)
	case handover.Create:
		return w.client.Create(ctx, objects.Wanted.DeepCopy(), fieldOwner)
	case handover.Delete:
		return w.client.Delete(ctx, objects.Driver, client.Preconditions{UID: &objects.Driver.UID})
	case handover.Recreate:
		return w.recreate(ctx, step.On, objects.Sets)
	default:
		labels := map[string]any{"metadata": map[string]any{"labels": handover.Labels(step, cluster.Find(step.On))}}
		return w.patch(ctx, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: step.On}}, labels)
	}
}

func (w *Writer) patch(ctx context.Context, object client.Object, change any) error {
	text, err := json.Marshal(change)
	if err != nil {
		return err
	}
	return w.client.Patch(ctx, object, client.RawPatch(types.MergePatchType, text), fieldOwner)
}

// onSet changes a DaemonSet as it was seen, and no other version of it.
func (w *Writer) onSet(ctx context.Context, key string, objects handover.Objects, change func(handover.LegacySet) (any, error)) error {
	at := slices.IndexFunc(objects.Sets, func(s handover.LegacySet) bool { return s.Key() == key })
	if at < 0 {
		return errors.New("it was not seen")
	}
	patch, err := change(objects.Sets[at])
	if err != nil {
		return err
	}
	return w.patch(ctx, objects.Sets[at].DeepCopy(), patch)
}

// prepared has a DaemonSet's pods select marked nodes, and be replaced only when they are deleted: then the change of the template
// restarts none. An earlier record stays.
func prepared(set handover.LegacySet, there []storagev1.CSIDriver) (any, error) {
	annotation := set.Annotations[handover.RecordAnnotation]
	if annotation == "" {
		text, err := recordOf(set, there).Encode()
		if err != nil {
			return nil, err
		}
		annotation = text
	}
	return change(set, annotation, map[string]any{"type": appsv1.OnDeleteDaemonSetStrategyType, "rollingUpdate": nil}, handover.Keep), nil
}

// restored takes back what prepared has changed, and nothing else.
func restored(set handover.LegacySet) (any, error) {
	record, err := handover.ReadRecord(set.Annotations[handover.RecordAnnotation])
	if err != nil || record == nil {
		return nil, errors.Join(err, errors.New("the DaemonSet has no record"))
	}
	return change(set, nil, record.UpdateStrategy, nil), nil
}

// change is a merge patch. What is nil is removed.
func change(set handover.LegacySet, annotation, strategy, label any) any {
	return map[string]any{
		"metadata": map[string]any{"resourceVersion": set.ResourceVersion, "annotations": map[string]any{handover.RecordAnnotation: annotation}},
		"spec": map[string]any{
			"updateStrategy": strategy,
			"template":       map[string]any{"spec": map[string]any{"nodeSelector": map[string]any{handover.KeepLabel: label}}},
		},
	}
}

// recordOf is what a DaemonSet and the CSIDriver objects of its names are before the handover.
func recordOf(set handover.LegacySet, there []storagev1.CSIDriver) handover.Record {
	record := handover.Record{UpdateStrategy: set.Spec.UpdateStrategy}
	for i := range there {
		if !slices.Contains(set.Names, there[i].Name) {
			continue
		}
		annotations := maps.Clone(there[i].Annotations)
		delete(annotations, corev1.LastAppliedConfigAnnotation)
		labels := labelsBefore(&there[i])
		record.CSIDrivers = append(record.CSIDrivers, storagev1.CSIDriver{
			ObjectMeta: metav1.ObjectMeta{Name: there[i].Name, Labels: labels, Annotations: annotations}, Spec: *there[i].Spec.DeepCopy()})
	}
	return record
}

// labelsBefore are the labels of a CSIDriver object without those that the operator gives it.
func labelsBefore(object *storagev1.CSIDriver) map[string]string {
	labels := maps.Clone(object.Labels)
	if labels[contract.DriverLabel] == "" {
		return labels
	}
	maps.DeleteFunc(labels, func(key, _ string) bool {
		return strings.HasPrefix(key, contract.Prefix) || strings.HasPrefix(key, "app.kubernetes.io/")
	})
	if object.Annotations["meta.helm.sh/release-name"] != "" {
		labels["app.kubernetes.io/managed-by"] = "Helm" // without which Helm takes it for somebody else's
	}
	return labels
}

// recreate creates a CSIDriver object as a record has it.
func (w *Writer) recreate(ctx context.Context, name string, sets []handover.LegacySet) error {
	for _, set := range sets {
		record, err := handover.ReadRecord(set.Annotations[handover.RecordAnnotation])
		if err != nil || record == nil {
			continue
		}
		for i := range record.CSIDrivers {
			if record.CSIDrivers[i].Name == name {
				return w.client.Create(ctx, record.CSIDrivers[i].DeepCopy(), fieldOwner)
			}
		}
	}
	return errors.New("no record has it")
}
