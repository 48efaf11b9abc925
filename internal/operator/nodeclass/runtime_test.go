package nodeclass

import (
	"errors"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

func TestParseRuntimeVersion(t *testing.T) {
	for text, want := range map[string]RuntimeVersion{
		"containerd://2.1.4-k3s1":          {"containerd", "2.1.4-k3s1"},
		"containerd://1.7.27+bottlerocket": {"containerd", "1.7.27+bottlerocket"},
		"cri-o://1.36.3":                   {"cri-o", "1.36.3"},
		"CRI-O://1.36.3":                   {"cri-o", "1.36.3"},
		"docker://28.1.1":                  {"docker", "28.1.1"},
		"containerd://":                    {"containerd", ""},
		"a://b://c":                        {"a", "b://c"},
	} {
		got, err := ParseRuntimeVersion(text)
		if err != nil || got != want {
			t.Errorf("ParseRuntimeVersion(%q) = %+v, %v; want %+v", text, got, err, want)
		}
	}
}

func TestParseRuntimeVersionRefusesOtherForms(t *testing.T) {
	for _, text := range []string{"", "containerd", "://1.0", "containerd:/1", "a b://1", "containerd://1\n2", "contäiner://1",
		"containerd://" + strings.Repeat("1", 200)} {
		if got, err := ParseRuntimeVersion(text); !errors.Is(err, ErrNoRuntime) {
			t.Errorf("ParseRuntimeVersion(%q) = %+v, %v; want ErrNoRuntime", text, got, err)
		}
	}
}

func FuzzNodeClass(f *testing.F) {
	for _, seed := range []string{"", "containerd://2.1.4-k3s1", "cri-o://1.36.3", "docker://28", "containerd://1.5", "://", "containerd://\x00"} {
		f.Add(seed, "linux", "Bottlerocket OS", "v1.36.2+k0s")
	}
	f.Add("containerd://2.1.4", strings.Repeat("\xff", 1000), "", "")
	f.Fuzz(func(t *testing.T, runtime, os, image, kubelet string) {
		n := &corev1.Node{}
		n.Status.NodeInfo = corev1.NodeSystemInfo{ContainerRuntimeVersion: runtime, OperatingSystem: os,
			OSImage: image, KubeletVersion: kubelet}
		class, err := NewTable(nil).Class(n)
		var unsupported *Unsupported
		switch {
		case err == nil:
			parsed, parseErr := ParseRuntimeVersion(runtime)
			if parseErr != nil || parsed.Name != string(class.Runtime) {
				t.Errorf("%q is in class %q with runtime %q", runtime, class.Name, class.Runtime)
			}
		case !errors.As(err, &unsupported):
			t.Errorf("error %v is no *Unsupported", err)
		case unsupported.Message == "" || unsupported.Remedy == "" || len(err.Error()) > 512:
			t.Errorf("unusable message %q", err)
		}
	})
}
