package storm_test

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/image-csi/image-csi-operator/internal/contract"
	"github.com/image-csi/image-csi-operator/test/internal/installation"
	"github.com/image-csi/image-csi-operator/test/internal/poll"
)

// giveUp is more than a leader goes on without its lease: it tries to renew it for 10 s.
const giveUp = 20 * time.Second

// outage is how long the API server is away: longer than a leader's patience, and than its lease.
func outage() time.Duration {
	if os.Getenv("IMAGECSI_FAULTS") == "all" {
		return 5 * time.Minute
	}
	return 18 * time.Second
}

// owned returns the UIDs of what must not be deleted.
func (c *cluster) owned() (map[string]types.UID, error) {
	out := map[string]types.UID{}
	here := client.InNamespace(installation.Namespace)
	for list, options := range map[client.ObjectList][]client.ListOption{
		&appsv1.DaemonSetList{}: {here}, &storagev1.CSIDriverList{}: nil, &corev1.ServiceAccountList{}: {here},
	} {
		if err := c.List(c.Context(), list, append(options, client.HasLabels{contract.DriverLabel})...); err != nil {
			return nil, err
		}
		err := meta.EachListItem(list, func(object runtime.Object) error {
			named, err := meta.Accessor(object)
			if err == nil {
				out[fmt.Sprintf("%T %s", object, named.GetName())] = named.GetUID()
			}
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	return out, nil
}

func TestAfterAnOutageTheOperatorGoesOnWhereItWas(t *testing.T) {
	t.Parallel()
	f, leader := rolledOut(t)
	before, err := f.owned()
	must(t, err)
	f.setImage("v2")
	f.half("v2")
	must(t, f.GoDown())
	down := time.Now()
	patience, cancel := context.WithTimeout(t.Context(), giveUp)
	defer cancel()
	code, err := leader.Ended(patience)
	must(t, err)
	if code == 0 {
		t.Error("without its lease, the leader ended as if all were well")
	}
	if !strings.Contains(leader.Log.String(), "leader election lost") {
		t.Error("the leader does not say that it lost its lease")
	}
	second := f.operate()
	time.Sleep(time.Until(down.Add(outage())))
	if !second.Running() {
		t.Error("the operator that started in the outage did not wait for its end")
	}
	must(t, f.ComeUp())
	up := time.Now()
	f.node("joined")
	f.waitForRollout(f, "v2", fleetSize+1, takeover)
	t.Logf("%s after an outage of %s, all is as it should be", time.Since(up).Round(time.Second), outage())
	f.finished("v2")
	after, err := f.owned()
	must(t, err)
	for what, uid := range before {
		if after[what] != uid {
			t.Errorf("%s was deleted", what)
		}
	}
	poll.Until(t, "a driver that nothing is wrong with", soon, func() error {
		driver, err := f.driver()
		if err != nil {
			return err
		}
		for _, condition := range driver.Status.Conditions {
			if want := map[string]string{"Available": "NodesReady", "Progressing": "RolledOut", "Degraded": "AsExpected"}[condition.Type]; condition.Reason != want {
				return fmt.Errorf("%s: %s: %s", condition.Type, condition.Reason, condition.Message)
			}
		}
		return nil
	})
}
