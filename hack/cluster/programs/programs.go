package programs

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Set is a set of programs that are built, cached and used together.
type Set struct {
	// Name says what it is, with its version, e.g. "containerd 2.4.2".
	Name string

	// pin is the directory below hack/cluster/pins that pins the sources; empty for a set of Debian's programs.
	pin string

	// packages maps each program's file name to the Go package that builds it; several names of one package are
	// links to one binary.
	packages map[string]string

	tags    []string
	ldflags []string
	cgo     bool

	// needs are the Debian packages that a build with cgo wants.
	needs []string

	// extra builds what Go cannot; it gets the build and the directory to fill.
	extra func(*build, string) error

	// debian are Debian packages to unpack instead of building.
	debian []string
}

// Kubernetes is etcd and all programs of a Kubernetes release: "1.37" (the client libraries' own) or "1.36".
func Kubernetes(release string) (Set, error) {
	patch, known := map[string]string{"1.37": "1.37.2", "1.36": "1.36.4"}[release]
	if !known {
		return Set{}, fmt.Errorf("no Kubernetes %q is pinned here: choose 1.37 or 1.36", release)
	}
	packages := map[string]string{"kubectl": "./kubectl"}
	for _, name := range []string{"etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet", "kube-proxy"} {
		packages[name] = "."
	}
	return Set{
		Name:     "Kubernetes " + patch,
		pin:      "kubernetes-" + release,
		packages: packages,
		ldflags:  kubernetesVersionFlags(patch),
	}, nil
}

// OldestRelease is the oldest Kubernetes release that the operator is meant for. A newer one is a change here, in minKubeVersion of the
// bundle and in the README.
const OldestRelease = "1.31"

// APIServer is kube-apiserver of an older Kubernetes release: "1.31", "1.33" or "1.35". It runs with the etcd of Kubernetes.
func APIServer(release string) (Set, error) {
	patch, known := map[string]string{OldestRelease: "1.31.14", "1.33": "1.33.13", "1.35": "1.35.4"}[release]
	if !known {
		return Set{}, fmt.Errorf("no kube-apiserver %q is pinned here: choose 1.31, 1.33 or 1.35", release)
	}
	return Set{
		Name:     "kube-apiserver " + patch,
		pin:      "kube-apiserver-" + release,
		packages: map[string]string{"kube-apiserver": "k8s.io/kubernetes/cmd/kube-apiserver"},
		ldflags:  kubernetesVersionFlags(patch),
	}, nil
}

// StorageSuite is Kubernetes' end-to-end suite for storage drivers, e2e.test, of the release that is the client libraries'
// own. It tests a cluster of any release.
func StorageSuite() Set {
	return Set{
		Name:     "Kubernetes storage suite 1.37.1",
		pin:      "kubernetes-e2e-1.37",
		packages: map[string]string{"e2e.test": "."},
		ldflags:  kubernetesVersionFlags("1.37.1"),
	}
}

// kubernetesVersionFlags sets the version that the programs report; without them a node says v0.0.0-master.
func kubernetesVersionFlags(version string) []string {
	parts := strings.Split(version, ".")
	values := map[string]string{
		"gitVersion": "v" + version, "gitMajor": parts[0], "gitMinor": parts[1], "gitTreeState": "clean",
		"gitCommit": strings.Repeat("0", 40), "buildDate": "1970-01-01T00:00:00Z",
	}
	var flags []string
	for _, pkg := range []string{"k8s.io/component-base/version", "k8s.io/client-go/pkg/version"} {
		for _, name := range slices.Sorted(maps.Keys(values)) {
			flags = append(flags, "-X", pkg+"."+name+"="+values[name])
		}
	}
	return flags
}

// Containerd is containerd 2.4 with its shim and ctr.
func Containerd() Set {
	const module = "github.com/containerd/containerd/v2"
	return Set{
		Name: "containerd 2.4.2",
		pin:  "containerd",
		packages: map[string]string{
			"containerd":              module + "/cmd/containerd",
			"containerd-shim-runc-v2": module + "/cmd/containerd-shim-runc-v2",
			"ctr":                     module + "/cmd/ctr",
		},
		tags:    []string{"no_btrfs", "no_devmapper", "nri_no_wasm"},
		ldflags: []string{"-X", module + "/version.Version=2.4.2"},
	}
}

// Containerd16 is Debian's containerd 1.6, the oldest supported one, with the runc of its time.
func Containerd16() Set {
	return Set{Name: "containerd 1.6 (Debian's)", debian: []string{"containerd", "runc"}}
}

// Runc is the OCI runtime of the nodes.
func Runc() Set {
	return Set{
		Name:     "runc 1.5.2",
		pin:      "runc",
		packages: map[string]string{"runc": "github.com/opencontainers/runc"},
		tags:     []string{"seccomp", "netgo", "osusergo"},
		ldflags:  []string{"-linkmode", "external", "-extldflags", "-static"},
		cgo:      true,
		needs:    []string{"gcc", "libc6-dev", "libseccomp-dev", "pkg-config"},
	}
}

// CNI is the network plugins that the nodes' pod network is made of.
func CNI() Set {
	const module = "github.com/containernetworking/plugins/plugins"
	return Set{
		Name: "CNI plugins 1.9.1",
		pin:  "cni",
		packages: map[string]string{
			"bridge":     module + "/main/bridge",
			"loopback":   module + "/main/loopback",
			"host-local": module + "/ipam/host-local",
			"portmap":    module + "/meta/portmap",
		},
	}
}

// CRIO is CRI-O with pinns, its helper that pins namespaces. Its conmon is Debian's (see InstallDebian).
func CRIO() Set {
	return Set{
		Name:     "CRI-O 1.36.3",
		pin:      "crio",
		packages: map[string]string{"crio": "github.com/cri-o/cri-o/cmd/crio"},
		tags: []string{
			"seccomp", "containers_image_openpgp", "containers_image_ostree_stub",
			"exclude_graphdriver_btrfs", "exclude_graphdriver_devicemapper", "nri_no_wasm",
		},
		cgo:   true,
		needs: []string{"gcc", "libc6-dev", "libseccomp-dev", "pkg-config"},
		extra: buildPinns,
	}
}

// Dir returns the directory that holds the programs, whether or not it is filled yet. It is an error if the pinned sources or
// the cache directory cannot be found.
func (s Set) Dir() (string, error) {
	cache, err := cacheDir()
	if err != nil {
		return "", err
	}
	key, err := s.key()
	if err != nil {
		return "", err
	}
	slug := strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || r == '.' || r == '-' {
			return r
		}
		if r == ' ' {
			return '-'
		}
		return -1
	}, strings.ToLower(s.Name))
	return filepath.Join(cache, "programs", slug+"-"+key), nil
}

func cacheDir() (string, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("find a cache directory for built programs: %w; set HOME or XDG_CACHE_HOME", err)
	}
	return filepath.Join(cache, "image-csi-operator"), nil
}
