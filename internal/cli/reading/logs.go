package reading

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/image-csi/image-csi-operator/internal/cli/seen"
	"github.com/image-csi/image-csi-operator/internal/contract"
)

// OwnPods returns the pods of the operator and of node plugins in a namespace, of node plugins only those on a node if it is named. Those
// that are not ready come first.
func (r *Reader) OwnPods(ctx context.Context, namespace, node string) ([]seen.OwnPod, error) {
	var pods corev1.PodList
	if err := r.client.List(ctx, &pods, client.InNamespace(namespace)); err != nil {
		return nil, fmt.Errorf("list pods: %w", err)
	}
	var own []seen.OwnPod
	for i := range pods.Items {
		pod := &pods.Items[i]
		isPlugin, isOperator := pod.Labels[contract.DriverLabel] != "", pod.Labels[operatorLabel] == operatorName
		if isPlugin && (node == "" || pod.Spec.NodeName == node) || isOperator && !isPlugin {
			own = append(own, ownPodOf(pod))
		}
	}
	slices.SortFunc(own, func(a, b seen.OwnPod) int {
		if a.Ready != b.Ready {
			if b.Ready {
				return -1
			}
			return 1
		}
		return strings.Compare(a.Name, b.Name)
	})
	return own, nil
}

func ownPodOf(pod *corev1.Pod) seen.OwnPod {
	own := seen.OwnPod{Namespace: pod.Namespace, Name: pod.Name}
	for _, c := range pod.Status.Conditions {
		own.Ready = own.Ready || (c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue)
	}
	for _, containers := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for i := range containers {
			name := containers[i].Name
			restarted := slices.ContainsFunc(slices.Concat(pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses), func(s corev1.ContainerStatus) bool {
				return s.Name == name && s.RestartCount > 0
			})
			own.Containers = append(own.Containers, seen.OwnContainer{Name: name, Restarted: restarted})
		}
	}
	return own
}

// Logs reads the ends of all logs of pods, a few at a time, and each no longer than patience.
func (r *Reader) Logs(ctx context.Context, pods []seen.OwnPod, patience time.Duration) []seen.Log {
	var logs []seen.Log
	for _, pod := range pods {
		for _, c := range pod.Containers {
			logs = append(logs, seen.Log{Namespace: pod.Namespace, Pod: pod.Name, Container: c.Name})
			if c.Restarted {
				logs = append(logs, seen.Log{Namespace: pod.Namespace, Pod: pod.Name, Container: c.Name, Before: true})
			}
		}
	}
	var asking errgroup.Group
	asking.SetLimit(askedAtOnce)
	for i := range logs {
		asking.Go(func() error {
			ctx, cancel := context.WithTimeout(ctx, patience)
			defer cancel()
			text, err := r.Log(ctx, logs[i].Namespace, logs[i].Pod, logs[i].Container, logs[i].Before)
			logs[i].Text = text
			if err != nil {
				logs[i].Failure = err.Error()
			}
			return nil
		})
	}
	_ = asking.Wait() // failures are in the logs
	return logs
}
