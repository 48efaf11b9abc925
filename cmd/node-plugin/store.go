package main

import (
	"fmt"
	"log/slog"

	"github.com/image-csi/image-csi-operator/internal/contract"
	"github.com/image-csi/image-csi-operator/internal/nodeplugin/imagestore"
	"github.com/image-csi/image-csi-operator/internal/nodeplugin/imagestore/containerd"
	"github.com/image-csi/image-csi-operator/internal/nodeplugin/imagestore/crio"
	"github.com/image-csi/image-csi-operator/internal/nodeplugin/pull"
)

var _ pull.Downloads = (*containerd.Store)(nil)

// openStore opens the image store of the node's runtime. Pins are made in the primary driver name, whichever name a
// volume uses, so that all names share them.
func openStore(o *options, log *slog.Logger) (imagestore.Store, error) {
	switch o.runtime {
	case contract.RuntimeContainerd:
		return containerd.Open(containerd.Config{Endpoint: o.runtimeEndpoint, Driver: o.driverName, OtherPlatforms: o.others,
			ProvenOnly: o.verify == contract.AlwaysVerify, Logger: log})
	case contract.RuntimeCRIO:
		return crio.Open(crio.Config{
			GraphRoot: o.storageRoot, RunRoot: o.runRoot, ImageStore: o.imageStore, AdditionalStores: o.additionalStores,
			Endpoint: o.runtimeEndpoint, Driver: o.driverName, OtherPlatforms: o.others, Logger: log})
	default:
		return nil, fmt.Errorf("there is no image store for runtime %q", o.runtime)
	}
}
