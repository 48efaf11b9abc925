package nodes

import (
	"context"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/image-csi/image-csi-operator/internal/contract"
	"github.com/image-csi/image-csi-operator/test/internal/poll"
)

// Images is the runtime's image service, as the kubelet uses it.
func (t *Target) Images(test testing.TB) (runtimeapi.ImageServiceClient, *grpc.ClientConn) {
	test.Helper()
	socket := "unix:" + filepath.Join(t.Root(), t.Node.RuntimeSocket())
	conn, err := grpc.NewClient(socket, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		test.Fatal(err)
	}
	return runtimeapi.NewImageServiceClient(conn), conn
}

// RemoveImage removes an image as the kubelet's garbage collection does: by its ID, and so with all its names. A runtime
// may refuse it while it is in use; that protects the content just as well.
func (t *Target) RemoveImage(test testing.TB, reference string) {
	test.Helper()
	client, conn := t.Images(test)
	defer conn.Close()
	ctx, cancel := context.WithTimeout(test.Context(), time.Minute)
	defer cancel()
	held, err := client.ImageStatus(ctx, &runtimeapi.ImageStatusRequest{Image: &runtimeapi.ImageSpec{Image: reference}})
	if err != nil {
		test.Fatal(err)
	}
	id := &runtimeapi.ImageSpec{Image: held.GetImage().GetId()}
	if _, err := client.RemoveImage(ctx, &runtimeapi.RemoveImageRequest{Image: id}); err != nil {
		test.Logf("%s keeps the image: %v", t.Name, err)
	}
}

// RestartRuntime kills the runtime; the node's init starts it again.
func (t *Target) RestartRuntime(test testing.TB) {
	test.Helper()
	t.Run(test, "sh", "-c", "kill -9 $(pidof "+t.runtimeProgram()+")")
	t.awaitRuntime(test)
}

// StopRuntime kills the runtime, which leaves its socket behind, and keeps the node's init from starting it again until
// the function that is returned has been called, or the test ends.
func (t *Target) StopRuntime(test testing.TB) (start func()) {
	test.Helper()
	program := strings.TrimSpace(t.Run(test, "sh", "-c", "readlink /proc/$(pidof "+t.runtimeProgram()+")/exe"))
	t.Run(test, "mount", "--bind", "/dev/null", program) // which cannot be executed
	restore := sync.OnceFunc(func() { t.Run(test, "umount", program) })
	test.Cleanup(restore)
	t.Run(test, "sh", "-c", "kill -9 $(pidof "+t.runtimeProgram()+")")
	poll.Until(test, "the runtime ends", time.Minute, func() error {
		if t.Node.Command(test.Context(), "pidof", t.runtimeProgram()).Run() == nil {
			return errors.New("it runs")
		}
		return nil
	})
	return func() {
		restore()
		t.awaitRuntime(test)
	}
}

// HangRuntime stops the runtime's process, which takes calls from then on and does not answer them, until the function
// that is returned has been called, or the test ends.
func (t *Target) HangRuntime(test testing.TB) (end func()) {
	test.Helper()
	signal := func(name string) { t.Run(test, "sh", "-c", "kill -"+name+" $(pidof "+t.runtimeProgram()+")") }
	signal("STOP")
	end = sync.OnceFunc(func() { signal("CONT") })
	test.Cleanup(end)
	return end
}

func (t *Target) runtimeProgram() string {
	if t.Runtime == contract.RuntimeCRIO {
		return "crio"
	}
	return "containerd"
}

func (t *Target) awaitRuntime(test testing.TB) {
	test.Helper()
	client, conn := t.Images(test)
	defer conn.Close()
	// CRI-O that was killed looks through its whole store before it answers.
	poll.Until(test, "the runtime answers", 5*time.Minute, func() error {
		ctx, cancel := context.WithTimeout(test.Context(), time.Second)
		defer cancel()
		_, err := client.ListImages(ctx, &runtimeapi.ListImagesRequest{})
		return err
	})
}

// Pins lists what the runtime keeps for a driver.
func (t *Target) Pins(test testing.TB, driver string) []string {
	test.Helper()
	if t.Runtime == contract.RuntimeContainerd {
		return slices.Concat(slices.Collect(maps.Values(t.Snapshots(test, t.Containerd(test), driver)))...)
	}
	content, err := os.ReadFile(filepath.Join(t.Root(), "var/lib/containers/storage/overlay-containers/containers.json"))
	if os.IsNotExist(err) {
		return nil
	}
	if err != nil {
		test.Fatal(err)
	}
	return linesWith(strings.ReplaceAll(string(content), "},", "},\n"), driver)
}

// RemovePins takes a driver's pins away behind its back. CRI-O's can be removed by its own library only.
func (t *Target) RemovePins(test testing.TB, driver string) {
	test.Helper()
	c := t.Containerd(test)
	for snapshotter, names := range t.Snapshots(test, c, driver) {
		for _, name := range names {
			if err := c.SnapshotService(snapshotter).Remove(test.Context(), name); err != nil {
				test.Fatal(err)
			}
		}
	}
}

// Holds reports whether the runtime holds an image.
func (t *Target) Holds(test testing.TB, reference string) bool {
	test.Helper()
	client, conn := t.Images(test)
	defer conn.Close()
	ctx, cancel := context.WithTimeout(test.Context(), 10*time.Second)
	defer cancel()
	answer, err := client.ImageStatus(ctx, &runtimeapi.ImageStatusRequest{Image: &runtimeapi.ImageSpec{Image: reference}})
	if err != nil {
		test.Fatal(err)
	}
	return answer.GetImage() != nil
}

func linesWith(text, word string) []string {
	var found []string
	for line := range strings.Lines(text) {
		if strings.Contains(line, word) {
			found = append(found, line)
		}
	}
	return found
}
