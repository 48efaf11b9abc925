package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"strings"
	"sync"
	"testing"

	. "github.com/onsi/gomega"
	"go.opentelemetry.io/otel"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	"k8s.io/klog/v2"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/image-csi/image-csi-operator/internal/contract"
)

// written is what a process writes, for a test that looks while it does.
type written struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (w *written) Write(text []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.text.Write(text)
}

func (w *written) lines() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return strings.Split(strings.TrimSuffix(w.text.String(), "\n"), "\n")
}

// with are the lines that have a text.
func (w *written) with(text string) []string {
	var found []string
	for _, line := range w.lines() {
		if strings.Contains(line, text) {
			found = append(found, line)
		}
	}
	return found
}

// logged is what this process logs. controller-runtime takes the first logger that it is given, and no other.
var logged = sync.OnceValue(func() *written {
	out := &written{}
	logTo(out, slog.LevelDebug)
	return out
})

// wellFormed wants each line to be one JSON object with a time, a level and a message, with no key twice, and with values that could be
// written.
func wellFormed(t *testing.T, w *written) {
	t.Helper()
	for _, line := range w.lines() {
		decoder := json.NewDecoder(strings.NewReader(line))
		keys, err := keysOf(decoder)
		if _, rest := decoder.Token(); err != nil || !errors.Is(rest, io.EOF) {
			t.Errorf("no JSON object (%v): %s", err, line)
			continue
		}
		if strings.Contains(line, "!ERROR") {
			t.Errorf("a value could not be written: %s", line)
		}
		for _, key := range []string{"time", "level", "msg"} {
			if keys[key] == 0 {
				t.Errorf("no %s: %s", key, line)
			}
		}
		for key, times := range keys {
			if times > 1 {
				t.Errorf("%d times %s: %s", times, key, line)
			}
		}
	}
}

// keysOf counts the keys of an object.
func keysOf(decoder *json.Decoder) (map[string]int, error) {
	if start, err := decoder.Token(); err != nil || start != json.Delim('{') {
		return nil, fmt.Errorf("it begins with %v: %w", start, err)
	}
	keys := map[string]int{}
	for decoder.More() {
		key, err := decoder.Token()
		if err != nil {
			return nil, err
		}
		keys[key.(string)]++
		var value json.RawMessage
		if err := decoder.Decode(&value); err != nil {
			return nil, err
		}
	}
	_, err := decoder.Token()
	return keys, err
}

func TestEveryLibraryWritesTheSameForm(t *testing.T) {
	out := logged()
	klog.Warningf("of %s", "klog")
	klog.InfoS("of klog", "structured", true)
	log.Print("of Go's own log\n")
	slog.Info("of slog")
	otel.Handle(errors.New("of OpenTelemetry"))
	utilruntime.HandleError(errors.New("of client-go"))
	for _, from := range []string{"of klog", `"structured":true`, "of Go's own log", "of slog", "of OpenTelemetry", "of client-go"} {
		if got := len(out.with(from)); got == 0 {
			t.Errorf("nothing %s in %q", from, out.lines())
		}
	}
	wellFormed(t, out)
}

// unservable makes a claim that names no image, which the provisioning library tries again and again.
func unservable(t *testing.T, cluster client.Client) {
	t.Helper()
	class := &storagev1.StorageClass{ObjectMeta: metav1.ObjectMeta{Name: "without-image"}, Provisioner: contract.DefaultDriverName}
	claim := &corev1.PersistentVolumeClaim{
		ObjectMeta: metav1.ObjectMeta{Name: "unservable", Namespace: "default",
			Annotations: map[string]string{"volume.kubernetes.io/storage-provisioner": contract.DefaultDriverName}}, // the controller manager's
		Spec: corev1.PersistentVolumeClaimSpec{
			AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadOnlyMany}, StorageClassName: &class.Name,
			Resources: corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Mi")}},
		},
	}
	NewWithT(t).Expect(errors.Join(cluster.Create(t.Context(), class), cluster.Create(t.Context(), claim))).To(Succeed())
}

// toldOnce wants one error, and one line about its event, of two tries.
func toldOnce(t *testing.T, out *written) {
	g := NewWithT(t)
	g.Eventually(func() int { return len(out.with("Retrying syncing claim")) }, 2*soon).Should(BeNumerically(">=", 2))
	said := out.with("the claim names no image")
	g.Expect(said).To(ConsistOf(ContainSubstring(`"level":"ERROR"`), ContainSubstring("ProvisioningFailed")))
}
