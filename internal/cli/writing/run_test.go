package writing

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/image-csi/image-csi-operator/api/v1alpha1"
	"github.com/image-csi/image-csi-operator/internal/cli/handover"
	"github.com/image-csi/image-csi-operator/internal/contract"
)

// unmarked and marked are clusters without the legacy driver, of which the second has a node to unmark.
func unmarked() handover.Objects {
	return handover.Objects{Nodes: []corev1.Node{{ObjectMeta: metav1.ObjectMeta{Name: "a"}}}}
}

func marked() handover.Objects {
	o := unmarked()
	o.Nodes[0].Labels = map[string]string{handover.KeepLabel: handover.Keep}
	return o
}

// ending is a cluster whose ImageCSIDriver is being deleted, which is waited for on the way back.
func ending() handover.Objects {
	o := unmarked()
	o.Driver = &v1alpha1.ImageCSIDriver{ObjectMeta: metav1.ObjectMeta{Name: "d", DeletionTimestamp: &metav1.Time{Time: time.Unix(1, 0)}}}
	return o
}

// run goes the way back over what is seen, one after the other, the last of them for ever.
func run(seen []handover.Objects, take func() error) (said []string, last handover.Step, err error) {
	looks := 0
	last, _, err = Run{
		Way: handover.ToLegacy, Pace: Pace{Poll: time.Millisecond, Confirm: time.Millisecond, Patience: 50 * time.Millisecond},
		Say: func(line string) { said = append(said, line) },
		Read: func(context.Context) (handover.Objects, error) {
			looks++
			return seen[min(looks, len(seen))-1], nil
		},
		Take: func(context.Context, handover.Step, handover.Cluster, handover.Objects) error { return take() },
	}.Go(context.Background())
	return said, last, err
}

func TestARun(t *testing.T) {
	const unmark, wait = "node a: labels of the handover are removed", "ImageCSIDriver d: waiting: the operator to remove it"
	conflicts := []error{apierrors.NewConflict(schema.GroupResource{}, "a", errors.New("changed")), nil}
	for name, test := range map[string]struct {
		seen []handover.Objects
		take func() error
		said []string
		err  string
	}{
		"ends":                           {seen: []handover.Objects{unmarked()}},
		"takes a step":                   {seen: []handover.Objects{marked(), unmarked()}, said: []string{unmark}},
		"looks again after a conflict":   {seen: []handover.Objects{marked(), marked(), unmarked()}, take: func() (err error) { err, conflicts = conflicts[0], conflicts[1:]; return err }, said: []string{unmark, unmark}},
		"ends with the server's refusal": {seen: []handover.Objects{marked()}, take: func() error { return errors.New("forbidden") }, said: []string{unmark}, err: "forbidden"},
		"ends where somebody undoes it":  {seen: []handover.Objects{marked()}, said: []string{unmark, unmark, unmark}, err: "was done 3 times and undone by somebody else"},
		"waits, and looks twice":         {seen: []handover.Objects{ending(), ending(), unmarked(), unmarked(), unmarked()}, said: []string{wait}},
		"waits for what comes and goes":  {seen: []handover.Objects{ending(), marked(), ending(), marked(), marked(), marked(), unmarked()}, said: []string{wait, unmark}},
		"does not wait for ever":         {seen: []handover.Objects{ending()}, said: []string{wait}, err: "it did not come in 50ms"},
	} {
		take := test.take
		if take == nil {
			take = func() error { return nil }
		}
		said, last, err := run(test.seen, take)
		if diff := cmp.Diff(test.said, said); diff != "" {
			t.Errorf("%s: said (-want +got):\n%s", name, diff)
		}
		if test.err == "" && (err != nil || last.Kind != handover.Done) || test.err != "" && (err == nil || !strings.Contains(err.Error(), test.err)) {
			t.Errorf("%s: ends with %s, error %v", name, last.Kind, err)
		}
	}
}

func TestARunEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	_, _, err := Run{Way: handover.ToLegacy, Pace: Pace{Poll: time.Hour, Patience: time.Hour}, Say: func(string) { cancel() },
		Read: func(context.Context) (handover.Objects, error) { return ending(), nil }}.Go(ctx)
	if !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
}

// A CSIDriver object that the operator has taken over is written down as it was before.
func TestTheRecordIsOfTheTimeBefore(t *testing.T) {
	helm := map[string]string{"meta.helm.sh/release-name": "r", corev1.LastAppliedConfigAnnotation: "{}"}
	set := handover.LegacySet{DaemonSet: &appsv1.DaemonSet{Spec: appsv1.DaemonSetSpec{UpdateStrategy: appsv1.DaemonSetUpdateStrategy{Type: "RollingUpdate"}}}, Names: []string{"a", "b"}}
	of := func(name string, labels, annotations map[string]string) storagev1.CSIDriver {
		return storagev1.CSIDriver{ObjectMeta: metav1.ObjectMeta{Name: name, UID: "u", Labels: labels, Annotations: annotations}}
	}
	ours := map[string]string{contract.DriverLabel: "a", "app.kubernetes.io/managed-by": "image-csi-operator", "team": "t"}
	record := recordOf(set, []storagev1.CSIDriver{of("a", ours, helm), of("b", map[string]string{"app.kubernetes.io/name": "n"}, nil), of("other", nil, nil)})
	want := handover.Record{UpdateStrategy: set.Spec.UpdateStrategy, CSIDrivers: []storagev1.CSIDriver{
		{ObjectMeta: metav1.ObjectMeta{Name: "a", Labels: map[string]string{"team": "t", "app.kubernetes.io/managed-by": "Helm"}, Annotations: map[string]string{"meta.helm.sh/release-name": "r"}}},
		{ObjectMeta: metav1.ObjectMeta{Name: "b", Labels: map[string]string{"app.kubernetes.io/name": "n"}}},
	}}
	if diff := cmp.Diff(want, record); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if len(ours) != 3 || len(helm) != 2 {
		t.Error("what was seen has changed")
	}
}

func TestAnEarlierRecordStays(t *testing.T) {
	set := handover.LegacySet{DaemonSet: &appsv1.DaemonSet{ObjectMeta: metav1.ObjectMeta{Annotations: map[string]string{handover.RecordAnnotation: "earlier"}}}}
	patch, err := prepared(set, nil)
	if err != nil || !slices.Contains(textsIn(patch), "earlier") {
		t.Errorf("patch %v, error %v", patch, err)
	}
	set.Annotations = nil
	if _, err := restored(set); err == nil {
		t.Error("restored without a record")
	}
}

// textsIn are the texts in a patch.
func textsIn(patch any) (out []string) {
	switch is := patch.(type) {
	case string:
		return []string{is}
	case map[string]any:
		for _, value := range is {
			out = append(out, textsIn(value)...)
		}
	}
	return out
}
