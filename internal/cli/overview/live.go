package overview

import (
	"cmp"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/image-csi/image-csi-operator/internal/cli/document"
	"github.com/image-csi/image-csi-operator/internal/cli/seen"
	"github.com/image-csi/image-csi-operator/internal/liveview"
)

// Images adds up the images that node plugins keep, the most used first.
func Images(views []seen.View) document.Images {
	byTree := map[string]*document.Image{}
	for i := range views {
		for _, image := range views[i].Images {
			sum := byTree[image.Tree]
			if sum == nil {
				sum = &document.Image{Tree: image.Tree}
				byTree[image.Tree] = sum
			}
			// What one node knows of a tree holds on all of them; which of several images with equal layers is named does not matter.
			if sum.Image == "" {
				sum.Image, sum.Digest = image.Image, image.Digest
			}
			sum.SizeBytes = cmp.Or(sum.SizeBytes, image.SizeBytes)
			sum.Volumes += max(image.Volumes, 0)
			if node := views[i].Plugin.Node; !slices.Contains(sum.Nodes, node) { // two drivers may keep it there
				sum.Nodes = append(sum.Nodes, node)
			}
			if image.Pin == liveview.PinMissing {
				sum.Unpinned = append(sum.Unpinned, views[i].Plugin.Node)
			}
		}
	}
	items := []document.Image{}
	for _, sum := range byTree {
		items = append(items, *sum)
	}
	slices.SortFunc(items, func(a, b document.Image) int {
		return cmp.Or(b.Volumes-a.Volumes, strings.Compare(a.Image, b.Image), strings.Compare(a.Tree, b.Tree))
	})
	return document.NewImages(items, silent(views))
}

// Pulls lists the pulls of nodes. Rates are since the answer before, of which passed is the age; there is none the first time.
func Pulls(views []seen.View, before document.Pulls, passed time.Duration) document.Pulls {
	items := []document.Pull{}
	for i := range views {
		for _, pull := range views[i].Pulls {
			item := document.Pull{Node: views[i].Plugin.Node, Driver: views[i].Plugin.Driver, Pull: pull}
			item.BytesPerSecond = rateOf(item, before, passed)
			items = append(items, item)
		}
	}
	return document.NewPulls(items, silent(views))
}

// rateOf returns how fast a pull goes; nil if that is not known.
func rateOf(now document.Pull, before document.Pulls, passed time.Duration) *int64 {
	at := slices.IndexFunc(before.Items, func(p document.Pull) bool { return p.Node == now.Node && p.Driver == now.Driver && p.ID == now.ID })
	if at < 0 || now.DoneBytes == nil || before.Items[at].DoneBytes == nil || passed <= 0 {
		return nil
	}
	rate := int64(float64(max(*now.DoneBytes-*before.Items[at].DoneBytes, 0)) / passed.Seconds())
	return &rate
}

// silent lists the node plugins that did not answer.
func silent(views []seen.View) (out []document.Silent) {
	for i := range views {
		if v := &views[i]; v.Failure != "" {
			out = append(out, document.Silent{Node: v.Plugin.Node, Driver: v.Plugin.Driver, Pod: v.Plugin.Pod, Reason: v.Failure})
		}
	}
	return out
}

// NodeView shows what there is on a node, with the names of its pods as far as they were read.
func NodeView(cluster seen.Cluster, node string, views []seen.View) document.NodeView {
	plugins := []document.NodePlugin{}
	for i := range views {
		v := &views[i]
		plugin := document.NodePlugin{Driver: v.Plugin.Driver, Namespace: v.Plugin.Namespace, Pod: v.Plugin.Pod, Revision: v.Plugin.Revision, Reason: v.Failure,
			Volumes: []document.LiveVolume{}, Images: v.Images, Pulls: v.Pulls, Orphans: v.Orphans}
		if v.Info.Kind != "" {
			plugin.Info = &v.Info
		}
		for _, volume := range v.Volumes {
			plugin.Volumes = append(plugin.Volumes, named(cluster.Pods, volume))
		}
		plugins = append(plugins, plugin)
	}
	return document.NewNodeView(node, plugins, cluster.Unread)
}

// named adds the name of its pod to a volume.
func named(pods []corev1.Pod, volume liveview.Volume) document.LiveVolume {
	at := slices.IndexFunc(pods, func(p corev1.Pod) bool { return string(p.UID) == volume.Pod })
	if at < 0 {
		return document.LiveVolume{Volume: volume}
	}
	return document.LiveVolume{Namespace: pods[at].Namespace, PodName: pods[at].Name, Volume: volume}
}
