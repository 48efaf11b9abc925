package controllers_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// operatorIdentity creates what an installation brings of namespaces and rights, and returns the server as the
// operator's service account sees it. A right that is missing from config/rbac so fails a test.
func operatorIdentity(admin *rest.Config, rbac string) (*rest.Config, error) {
	c, err := client.New(admin, client.Options{})
	if err != nil {
		return nil, err
	}
	for _, object := range []metav1.ObjectMeta{{Name: operatorNamespace}, {Name: namespace, Annotations: map[string]string{
		"imagecsi.dev/node-plugin-image": ownImage, "imagecsi.dev/operator-namespace": operatorNamespace}}} {
		if err := c.Create(context.Background(), &corev1.Namespace{ObjectMeta: object}); err != nil {
			return nil, err
		}
	}
	for _, file := range []string{"service_account.yaml", "role.yaml", "role_binding.yaml"} {
		if err := createAll(c, filepath.Join(rbac, file)); err != nil {
			return nil, err
		}
	}
	identity := rest.CopyConfig(admin)
	identity.Impersonate.UserName = "system:serviceaccount:" + operatorNamespace + ":image-csi-operator"
	return identity, nil
}

func createAll(c client.Client, file string) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	documents := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(text), 4096)
	for {
		object := &unstructured.Unstructured{}
		if err := documents.Decode(&object.Object); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return fmt.Errorf("read %s: %w", file, err)
		}
		if len(object.Object) == 0 {
			continue
		}
		if err := c.Create(context.Background(), object); err != nil {
			return fmt.Errorf("create the %s of %s: %w", object.GetKind(), file, err)
		}
	}
}
