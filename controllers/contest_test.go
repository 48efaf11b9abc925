package controllers

import (
	"testing"

	"github.com/image-csi/image-csi-operator/controllers/nodecache"
)

func TestTheContestsOfADriverAreForgottenWithIt(t *testing.T) {
	gone, stays := objectKey{"gone.example.com", "DaemonSet", "a"}, objectKey{"stays.example.com", "DaemonSet", "b"}
	r := &ImageCSIDriverReconciler{nodes: nodecache.New(), contests: map[objectKey]*contested{gone: {}, stays: {}}}
	r.forget(gone.driver)
	if len(r.contests) != 1 || r.contests[stays] == nil {
		t.Errorf("remembers %v", r.contests)
	}
}
