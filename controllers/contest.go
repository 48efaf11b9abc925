package controllers

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/sets"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"

	"github.com/image-csi/image-csi-operator/internal/operator/contest"
	"github.com/image-csi/image-csi-operator/internal/operator/ownership"
	"github.com/image-csi/image-csi-operator/internal/operator/recheck"
	"github.com/image-csi/image-csi-operator/internal/operator/render"
	"github.com/image-csi/image-csi-operator/internal/operator/status"
)

// errPutOff reports that an object is not applied yet, because something else has changed it back too often.
var errPutOff = errors.New("another controller or user changes the object again and again")

// objectKey identifies an object among those of all drivers.
type objectKey struct{ driver, kind, name string }

// contested is what is remembered of an object that the operator applied. Drivers are reconciled one at a time, so it needs
// no lock.
type contested struct {
	contest.History

	// version of the object after it.
	version string
	// owned are the fields that the operator owned after it.
	owned *fieldpath.Set
	// taken are those of them that others have changed since the contents were applied first.
	taken *fieldpath.Set
	// managers are the field managers that had taken some of them when it was applied again.
	managers []string
}

// contestWait returns how long an object that does not hold what is wanted has to wait before it is applied again, or 0.
func (r *ImageCSIDriverReconciler) contestWait(key objectKey, live render.Object, contents string) time.Duration {
	known := r.contests[key]
	if known == nil {
		return 0
	}
	if live != nil && known.Applied == contents {
		known.managers = managersOf(live, known.owned, known.managers)
	}
	return known.Wait(contents, r.Clock.Now())
}

// noteApplied records that an object was applied, by the server's answer. If the server held it already and only the cache
// lagged behind, nothing was changed.
func (r *ImageCSIDriverReconciler) noteApplied(key objectKey, live render.Object, contents string, answer *unstructured.Unstructured) {
	if r.contests == nil {
		r.contests = map[objectKey]*contested{}
	}
	known := r.contests[key]
	if known == nil {
		known = &contested{}
		r.contests[key] = known
	}
	version := answer.GetResourceVersion()
	lags := version == known.version && (live == nil || live.GetResourceVersion() != version)
	switch {
	case known.Applied != contents:
		known.taken = nil
		known.History = known.Apply(contents, r.Clock.Now())
	case !lags && known.changedAgain(live):
		known.History = known.Apply(contents, r.Clock.Now())
	}
	known.version = version
	known.owned = ownership.Applied(answer, ownership.Operator)
	if known.Repairs == 0 {
		known.managers = nil
	}
}

// changedAgain reports whether a field was changed that was repaired before, or whether that is unknown. Editing one field
// after the other is no contest.
func (c *contested) changedAgain(live render.Object) bool {
	if live == nil || c.owned == nil {
		return true
	}
	left := ownership.Applied(live, ownership.Operator)
	if left == nil {
		left = fieldpath.NewSet()
	}
	taken := c.owned.Difference(left)
	if c.taken == nil {
		c.taken = fieldpath.NewSet()
	}
	again := taken.Empty() || !taken.Intersection(c.taken).Empty()
	c.taken = c.taken.Union(taken)
	return again
}

// contestsOf returns which of a driver's objects are contested, and when the first contest counts as ended, or 0. It forgets those
// that have ended.
func (r *ImageCSIDriverReconciler) contestsOf(driver string) (out []status.Contest, next time.Duration) {
	now := r.Clock.Now()
	for key, known := range r.contests {
		if key.driver != driver {
			continue
		}
		if left := contest.Forgotten - now.Sub(known.Last); left <= 0 {
			delete(r.contests, key)
		} else if known.IsContested(now) {
			out = append(out, status.Contest{Kind: key.kind, Name: key.name, Managers: known.managers})
			next = recheck.Sooner(next, left)
		}
	}
	return out, next
}

// contentsOf identifies what is to be applied.
func contentsOf(want *unstructured.Unstructured) (string, error) {
	text, err := json.Marshal(want.Object)
	if err != nil {
		return "", fmt.Errorf("encode %s %s: %w", want.GetKind(), want.GetName(), err)
	}
	return fmt.Sprintf("%x", sha256.Sum256(text)), nil
}

// managersOf returns the field managers that have taken fields of the operator, and those before.
func managersOf(live metav1.Object, owned *fieldpath.Set, before []string) []string {
	if owned == nil {
		return before
	}
	names := sets.List(sets.New(before...).Insert(ownership.Others(live, ownership.Operator, owned)...))
	return names[:min(len(names), mostManagers)]
}

// mostManagers bounds how many names are reported.
const mostManagers = 4

// reportable joins the errors that are failures: an object that is put off is none.
func reportable(failures []error) error {
	return errors.Join(slices.DeleteFunc(failures, func(err error) bool { return errors.Is(err, errPutOff) })...)
}
