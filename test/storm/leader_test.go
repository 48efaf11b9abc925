package storm_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/image-csi/image-csi-operator/test/internal/dashboard"
	"github.com/image-csi/image-csi-operator/test/internal/installation"
	"github.com/image-csi/image-csi-operator/test/internal/poll"
)

const (
	lease          = "image-csi-operator"
	maxUnavailable = 2
	// fleetSize takes some waves of maxUnavailable.
	fleetSize = 9
)

func (c *cluster) holder() (string, error) {
	var found coordinationv1.Lease
	err := c.Get(c.Context(), client.ObjectKey{Namespace: installation.Namespace, Name: lease}, &found)
	return ptr.Deref(found.Spec.HolderIdentity, ""), err
}

func (c *cluster) waitForLeader(other string) string {
	c.Helper()
	leader := ""
	poll.Until(c.T, "a leader", takeover, func() (err error) {
		if leader, err = c.holder(); err == nil && (leader == "" || leader == other) {
			err = fmt.Errorf("the leader is %q", leader)
		}
		return err
	})
	return leader
}

// rolledOut is a cluster with a leader in which v1 is on every node.
func rolledOut(t *testing.T) (*fleet, *installation.Program) {
	t.Helper()
	c := newCluster(t)
	for i := range fleetSize {
		c.node(fmt.Sprintf("n%d", i))
	}
	c.install()
	leader := c.operate()
	f := c.fleet()
	c.waitForRollout(f, "v1", fleetSize, soon)
	f.MostDown() // Counts from now on.
	return f, leader
}

// half waits until a change has reached some nodes and not all of them.
func (f *fleet) half(image string) {
	f.Helper()
	poll.Until(f.T, "half a rollout", soon, func() error {
		if with := f.with(image); with < 3 {
			return fmt.Errorf("%d nodes have it", with)
		}
		return nil
	})
	if with := f.with(image); with == fleetSize {
		f.Fatal("the rollout is over before anything happened to it")
	}
}

// finished fails if a rollout was done otherwise than once on every node, within its budget.
func (f *fleet) finished(image string) {
	f.Helper()
	if twice := f.twice(image); len(twice) > 0 {
		f.Errorf("nodes %v got %s more than once", twice, image)
	}
	if down := f.MostDown(); down > maxUnavailable {
		f.Errorf("%d nodes were down at a time, but maxUnavailable is %d", down, maxUnavailable)
	}
}

func TestAnotherOperatorFinishesTheRolloutOfOneThatWasKilled(t *testing.T) {
	t.Parallel()
	f, leader := rolledOut(t)
	recorder := dashboard.Record(t, scrape(leader, "operator-a"))
	first := f.waitForLeader("")
	recorder.Also(scrape(f.operate(), "operator-b"))
	f.setImage("v2")
	f.half("v2")
	must(t, leader.Kill())
	f.waitForLeader(first)
	f.waitForRollout(f, "v2", fleetSize, takeover)
	f.finished("v2")
	shows(t, recorder)
}

// A leader whose clock is wrong writes wrong times into the lease. It leads all the same, as long as it writes.
func TestALeaseIsGoodWhateverItsHoldersClockSays(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	c.node("n0")
	c.install()
	mine := &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Namespace: installation.Namespace, Name: lease}}
	mine.Spec.HolderIdentity, mine.Spec.LeaseDurationSeconds = ptr.To("another"), ptr.To[int32](15)
	renew := func(skew time.Duration) {
		mine.Spec.RenewTime = ptr.To(metav1.NowMicro())
		mine.Spec.RenewTime.Time = mine.Spec.RenewTime.Add(skew)
		must(t, c.Update(t.Context(), mine))
	}
	must(t, c.Create(t.Context(), mine))
	renew(-10 * time.Minute)
	c.operate()
	for end := time.Now().Add(17 * time.Second); time.Now().Before(end); time.Sleep(2 * time.Second) {
		if leader, err := c.holder(); err != nil || leader != "another" {
			t.Fatalf("the leader is %q, though another renews the lease by a clock that is behind: %v", leader, err)
		}
		renew(-10 * time.Minute)
	}
	// Its clock jumps ahead, and it dies.
	renew(10 * time.Minute)
	c.waitForLeader("another")
	poll.Until(t, "a driver that is reconciled", soon, func() error {
		driver, err := c.driver()
		if err == nil && len(driver.Finalizers) == 0 {
			err = errors.New("no operator has reconciled it")
		}
		return err
	})
}
