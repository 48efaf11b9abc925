package nodes

import (
	"context"
	"os"
	"path/filepath"
	"strings"
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

// RemoveImage removes an image as the kubelet's garbage collection does. A runtime may refuse it while it is in use;
// that protects the content just as well.
func (t *Target) RemoveImage(test testing.TB, reference string) {
	test.Helper()
	client, conn := t.Images(test)
	defer conn.Close()
	ctx, cancel := context.WithTimeout(test.Context(), time.Minute)
	defer cancel()
	if _, err := client.RemoveImage(ctx, &runtimeapi.RemoveImageRequest{Image: &runtimeapi.ImageSpec{Image: reference}}); err != nil {
		test.Logf("%s keeps the image: %v", t.Name, err)
	}
}

// RestartRuntime kills the runtime; the node's init starts it again.
func (t *Target) RestartRuntime(test testing.TB) {
	test.Helper()
	program := "containerd"
	if t.Runtime == contract.RuntimeCRIO {
		program = "crio"
	}
	t.Run(test, "sh", "-c", "kill -9 $(pidof "+program+")")
	client, conn := t.Images(test)
	defer conn.Close()
	poll.Until(test, "the runtime answers again", time.Minute, func() error {
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
		return linesWith(t.Run(test, "ctr", "-n", "k8s.io", "leases", "ls"), driver)
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

// Snapshots lists a driver's snapshots in every snapshotter of containerd; CRI-O has none but its pins.
func (t *Target) Snapshots(test testing.TB, driver string) []string {
	test.Helper()
	if t.Runtime != contract.RuntimeContainerd {
		return nil
	}
	var found []string
	for _, snapshotter := range []string{"overlayfs", "native", "erofs"} {
		out, err := t.Node.Command(context.Background(), "ctr", "-n", "k8s.io", "snapshots", "--snapshotter", snapshotter, "ls").Output()
		if err == nil { // an error: containerd has no such snapshotter
			found = append(found, linesWith(string(out), driver)...)
		}
	}
	return found
}

// Holds tells whether the runtime Holds an image.
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
