package node

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

// images is the runtime's image service, as the kubelet uses it.
func (t *target) images(test *testing.T) (runtimeapi.ImageServiceClient, *grpc.ClientConn) {
	test.Helper()
	socket := "unix:" + filepath.Join(t.root(), t.node.RuntimeSocket())
	conn, err := grpc.NewClient(socket, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		test.Fatal(err)
	}
	return runtimeapi.NewImageServiceClient(conn), conn
}

// removeImage removes an image as the kubelet's garbage collection does. A runtime may refuse it while it is in use;
// that protects the content just as well.
func (t *target) removeImage(test *testing.T, reference string) {
	test.Helper()
	client, conn := t.images(test)
	defer conn.Close()
	ctx, cancel := context.WithTimeout(test.Context(), time.Minute)
	defer cancel()
	if _, err := client.RemoveImage(ctx, &runtimeapi.RemoveImageRequest{Image: &runtimeapi.ImageSpec{Image: reference}}); err != nil {
		test.Logf("%s keeps the image: %v", t.name, err)
	}
}

// restartRuntime kills the runtime; the node's init starts it again.
func (t *target) restartRuntime(test *testing.T) {
	test.Helper()
	program := "containerd"
	if t.runtime == contract.RuntimeCRIO {
		program = "crio"
	}
	t.inNode(test, "sh", "-c", "kill -9 $(pidof "+program+")")
	client, conn := t.images(test)
	defer conn.Close()
	poll.Until(test, "the runtime answers again", time.Minute, func() error {
		ctx, cancel := context.WithTimeout(test.Context(), time.Second)
		defer cancel()
		_, err := client.ListImages(ctx, &runtimeapi.ListImagesRequest{})
		return err
	})
}

// pins lists what the runtime keeps for a driver.
func (t *target) pins(test *testing.T, driver string) []string {
	test.Helper()
	if t.runtime == contract.RuntimeContainerd {
		return linesWith(t.inNode(test, "ctr", "-n", "k8s.io", "leases", "ls"), driver)
	}
	content, err := os.ReadFile(filepath.Join(t.root(), "var/lib/containers/storage/overlay-containers/containers.json"))
	if os.IsNotExist(err) {
		return nil
	}
	if err != nil {
		test.Fatal(err)
	}
	return linesWith(strings.ReplaceAll(string(content), "},", "},\n"), driver)
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
