package reading

import (
	"context"
	"fmt"
	"io"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/image-csi/image-csi-operator/internal/cli/seen"
)

// maxObjects bounds one list of Objects.
const maxObjects = 2000

// Objects reads a list of objects as they are, of a namespace or, if that is empty, of all; labels may choose them. There are no more than
// maxObjects. A gap is why some are left out; empty if none is. The error means that the cluster was not reached.
func (r *Reader) Objects(ctx context.Context, kind schema.GroupVersionKind, namespace string, labels map[string]string) (objects []map[string]any, gap string, err error) {
	var list unstructured.UnstructuredList
	list.SetGroupVersionKind(kind.GroupVersion().WithKind(kind.Kind + "List"))
	cause, err := causeOf(r.client.List(ctx, &list, client.InNamespace(namespace), client.MatchingLabels(labels), client.Limit(maxObjects)))
	if err != nil {
		return nil, "", fmt.Errorf("list objects of kind %s: %w", kind.Kind, err)
	}
	for i := range list.Items {
		objects = append(objects, list.Items[i].Object)
	}
	switch {
	case cause == seen.Forbidden:
		gap = "you may not list these objects"
	case list.GetContinue() != "":
		gap = fmt.Sprintf("there are more, of which the first %d were read", maxObjects)
	}
	return objects, gap, nil
}

const (
	// maxLines and maxLog bound one log.
	maxLines = 5000
	maxLog   = 1 << 20
)

// Log reads the end of a container's log, or of the one that ran before it.
func (r *Reader) Log(ctx context.Context, namespace, pod, container string, before bool) ([]byte, error) {
	core, err := corev1client.NewForConfig(r.config)
	if err != nil {
		return nil, fmt.Errorf("prepare to read logs: %w", err)
	}
	lines := int64(maxLines)
	stream, err := core.Pods(namespace).GetLogs(pod, &corev1.PodLogOptions{Container: container, Previous: before, TailLines: &lines}).Stream(ctx)
	if err != nil {
		return nil, fmt.Errorf("read the log: %w", err)
	}
	defer stream.Close()
	return lastBytes(stream, maxLog)
}

// lastBytes returns the last bytes of a stream, and holds no more than twice as many.
func lastBytes(stream io.Reader, limit int) ([]byte, error) {
	var kept []byte
	piece := make([]byte, limit)
	for {
		n, err := io.ReadFull(stream, piece)
		kept = append(kept, piece[:n]...)
		kept = kept[max(0, len(kept)-limit):]
		switch err {
		case nil:
		case io.EOF, io.ErrUnexpectedEOF:
			return kept, nil
		default:
			return kept, fmt.Errorf("read the log: %w", err)
		}
	}
}
