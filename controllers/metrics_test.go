package controllers_test

import (
	"strings"
	"testing"

	. "github.com/onsi/gomega"
	"github.com/prometheus/client_golang/prometheus/testutil"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/image-csi/image-csi-operator/api/v1alpha1"
	"github.com/image-csi/image-csi-operator/controllers"
)

func TestAScrapeShowsWhatEveryDriversStatusSays(t *testing.T) {
	c := newCluster(t)
	c.Expect(c.create("a.example.com", "spec: {}")).To(Succeed())
	c.Expect(c.create("b.example.com", "spec: {}")).To(Succeed())
	driver := &v1alpha1.ImageCSIDriver{ObjectMeta: metav1.ObjectMeta{Name: "a.example.com"}}
	c.Expect(c.Status().Patch(c.ctx, driver, mergePatch(`{"status": {
		"nodes": {"total": 9, "eligible": 7, "ready": 5, "unsupported": 2, "waiting": 1},
		"unsupported": [{"reason": "OSUnsupported", "nodes": 2, "node": "w", "message": "x"}],
		"nodeClasses": [{"name": "crio", "mountMode": "Bidirectional", "nodes": 4, "ready": 3, "updated": 2}],
		"rollout": {"phase": "RollingBack", "nodes": 1, "updated": 0},
		"conditions": [{"type": "Available", "status": "False", "reason": "X", "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z"}]
	}}`))).To(Succeed())
	want := `
# HELP imagecsi_driver_class_nodes Nodes of a node class by the state of their node plugins: total, ready, updated.
# TYPE imagecsi_driver_class_nodes gauge
imagecsi_driver_class_nodes{class="crio",driver="a.example.com",mount_mode="Bidirectional",state="ready"} 3
imagecsi_driver_class_nodes{class="crio",driver="a.example.com",mount_mode="Bidirectional",state="total"} 4
imagecsi_driver_class_nodes{class="crio",driver="a.example.com",mount_mode="Bidirectional",state="updated"} 2
# HELP imagecsi_driver_condition 1 for the status that a driver's condition has, 0 for the others.
# TYPE imagecsi_driver_condition gauge
imagecsi_driver_condition{condition="Available",driver="a.example.com",status="False"} 1
imagecsi_driver_condition{condition="Available",driver="a.example.com",status="True"} 0
imagecsi_driver_condition{condition="Available",driver="a.example.com",status="Unknown"} 0
# HELP imagecsi_driver_nodes Nodes of the cluster by what they are to a driver: total, eligible, ready, unsupported, waiting.
# TYPE imagecsi_driver_nodes gauge
imagecsi_driver_nodes{driver="a.example.com",state="eligible"} 7
imagecsi_driver_nodes{driver="a.example.com",state="ready"} 5
imagecsi_driver_nodes{driver="a.example.com",state="total"} 9
imagecsi_driver_nodes{driver="a.example.com",state="unsupported"} 2
imagecsi_driver_nodes{driver="a.example.com",state="waiting"} 1
imagecsi_driver_nodes{driver="b.example.com",state="eligible"} 0
imagecsi_driver_nodes{driver="b.example.com",state="ready"} 0
imagecsi_driver_nodes{driver="b.example.com",state="total"} 0
imagecsi_driver_nodes{driver="b.example.com",state="unsupported"} 0
imagecsi_driver_nodes{driver="b.example.com",state="waiting"} 0
# HELP imagecsi_driver_rollout 1 for the phase that a driver's rollout is in: Complete, Canary, Updating, Paused, RollingBack, RolledBack.
# TYPE imagecsi_driver_rollout gauge
imagecsi_driver_rollout{driver="a.example.com",phase="RollingBack"} 1
# HELP imagecsi_driver_unsupported_nodes Nodes that cannot serve a driver, by the reason.
# TYPE imagecsi_driver_unsupported_nodes gauge
imagecsi_driver_unsupported_nodes{driver="a.example.com",reason="OSUnsupported"} 2
`
	c.Expect(testutil.CollectAndCompare(controllers.NewStatusMetrics(c), strings.NewReader(want))).To(Succeed())
	problems, err := testutil.CollectAndLint(controllers.NewStatusMetrics(c))
	c.Expect(err).NotTo(HaveOccurred())
	c.Expect(problems).To(BeEmpty())
}
