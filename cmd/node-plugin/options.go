package main

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/image-csi/image-csi-operator/internal/contract"
	"github.com/image-csi/image-csi-operator/internal/nodeplugin/pull"
	"github.com/image-csi/image-csi-operator/internal/nodeplugin/server"
	"github.com/image-csi/image-csi-operator/internal/nodeplugin/volume"
	"github.com/image-csi/image-csi-operator/internal/privileges"
)

// options are the flags.
type options struct {
	driverName       string
	aliases          []string
	nodeName         string
	runtime          string
	runtimeEndpoint  string
	mountMode        string
	nodeView         string
	kubeletRoot      string
	storageRoot      string
	policyDir        string
	runRoot          string
	imageStore       string
	additionalStores []string
	httpAddress      string
	liveAddress      string
	pullPolicy       string
	access           string
	credentialsDir   string
	providerSocket   string
	sandboxProfile   string
	imageRules       string
	verifyCached     string
	maxParallelPulls int
	defaultSizeLimit string
	maxSizeLimit     string
	limitFallback    string
	otherPlatforms   string
	maxImageSize     string
	maxVolumes       int64
	releaseAfter     time.Duration
	orphanAfter      time.Duration
	legacyMetrics    bool
	confinement      string
	logLevel         string

	container contract.Confinement    // what the process should run under
	dropped   []privileges.Capability // what the container does without
	policy    contract.PullPolicy
	pods      contract.Access // what they may do with volumes
	verify    contract.Verification
	fallback  contract.LimitFallback
	others    contract.OtherPlatforms

	maxImageBytes int64
	level         slog.Level
	limits        server.SizeLimits
}

// endpoints returns where the runtimes listen by default.
func endpoints(runtime string) string {
	if runtime == contract.RuntimeCRIO {
		return contract.CRIOEndpoint
	}
	return contract.ContainerdEndpoint
}

func defaults() *options {
	return &options{
		driverName:       contract.DefaultDriverName,
		nodeName:         os.Getenv(contract.NodeNameEnv),
		runtime:          contract.RuntimeContainerd,
		mountMode:        contract.ModeNsenter,
		kubeletRoot:      "/var/lib/kubelet",
		httpAddress:      fmt.Sprintf(":%d", contract.HTTPPort),
		pullPolicy:       string(contract.PullIfNotPresent),
		verifyCached:     string(contract.NeverVerifyPreloadedImages),
		access:           string(contract.AccessReadWrite),
		maxParallelPulls: contract.DefaultMaxParallelPulls,
		limitFallback:    string(contract.FallbackRefuse),
		otherPlatforms:   string(contract.OtherPlatformsRefuse),
		releaseAfter:     volume.DefaultReleaseAfter,
		orphanAfter:      volume.DefaultOrphanAfter,
		logLevel:         "info",
	}
}

func (o *options) register(f *pflag.FlagSet) {
	f.StringVar(&o.driverName, contract.FlagDriverName, o.driverName, "the CSI driver name to serve")
	f.StringArrayVar(&o.aliases, contract.FlagAlias, nil, "a further CSI driver name to serve; may be repeated")
	f.StringVar(&o.nodeName, contract.FlagNodeName, o.nodeName, "the Node's name (default: $"+contract.NodeNameEnv+")")
	f.StringVar(&o.runtime, contract.FlagRuntime, o.runtime, "the node's container runtime: containerd or cri-o")
	f.StringVar(&o.runtimeEndpoint, contract.FlagRuntimeEndpoint, "", "the runtime's CRI socket, unix:///path (default: where the runtime listens by default)")
	f.StringVar(&o.mountMode, contract.FlagMountMode, o.mountMode, "where to mount: Nsenter (the host's mount namespace) or Bidirectional (this one)")
	f.StringVar(&o.nodeView, contract.FlagNodeView, "", "mode Bidirectional: a second mount of the driver's directory that receives mounts from the node; the start-up check looks there for its own mounts (default: no such check)")
	f.StringVar(&o.kubeletRoot, contract.FlagKubeletRoot, o.kubeletRoot, "the kubelet's root directory, at the same path here as on the host")
	f.StringVar(&o.storageRoot, contract.FlagStorageRoot, "", "cri-o: the root directory of its image store (default: the one in its configuration)")
	f.StringVar(&o.policyDir, contract.FlagPolicyDir, "", "cri-o: its directory of signature policies for namespaces, at the same path here as on the host (default: not visible, so every namespace may have one)")
	f.StringVar(&o.runRoot, contract.FlagRunRoot, "", "cri-o: the directory of its image store's run-time state (default: the one in its configuration)")
	f.StringVar(&o.imageStore, contract.FlagImageStore, "", "cri-o: where it keeps images, if not in its root directory (default: as CRI-O reports)")
	f.StringArrayVar(&o.additionalStores, contract.FlagAdditionalStore, nil, "cri-o: an additional image store that it reads; may be repeated (default: those that CRI-O reports and that are visible here)")
	f.StringVar(&o.httpAddress, contract.FlagHTTPAddress, o.httpAddress, "where to serve metrics and health; empty serves none")
	f.StringVar(&o.liveAddress, contract.FlagLiveAddress, "", "where to serve the live view, as 127.0.0.1:PORT; no other address than one of the loopback is taken (default: it is not served)")
	f.StringVar(&o.pullPolicy, contract.FlagPullPolicy, o.pullPolicy, "pull policy of volumes that name none: Always, IfNotPresent or Never")
	f.StringVar(&o.access, contract.FlagAccess, o.access, "whether pods may write to volumes that are not read-only: ReadWrite, or ReadOnly to refuse such volumes")
	f.StringVar(&o.credentialsDir, contract.FlagCredentialsDir, "", "the directory of secrets with registry credentials for all volumes, one directory for each secret; empty for none")
	f.StringVar(&o.providerSocket, contract.FlagProviderSocket, "", "the socket of the container that runs the node's credential providers; empty for none")
	f.StringVar(&o.imageRules, contract.FlagImageRules, "", "the file with the rules for images, read for every volume; while it cannot be read, no image is allowed; empty allows all images")
	f.StringVar(&o.verifyCached, contract.FlagVerify, o.verifyCached, "for which images on the node a volume's credentials are verified: NeverVerify, NeverVerifyPreloadedImages or AlwaysVerify")
	f.IntVar(&o.maxParallelPulls, contract.FlagMaxParallelPulls, o.maxParallelPulls, "how many images to pull at a time")
	f.StringVar(&o.defaultSizeLimit, contract.FlagDefaultSizeLimit, "", "how much a writable volume that names no sizeLimit may hold, such as 1Gi (default: --"+contract.FlagMaxSizeLimit+")")
	f.StringVar(&o.maxSizeLimit, contract.FlagMaxSizeLimit, "", "the largest sizeLimit that a writable volume may name, such as 10Gi (default: no limit)")
	f.StringVar(&o.limitFallback, contract.FlagLimitFallback, o.limitFallback, "what to do with a volume with a size limit if the file system has no project quotas: Refuse, or Memory to keep its data in the node's memory")
	f.StringVar(&o.otherPlatforms, contract.FlagOtherPlatforms, o.otherPlatforms, "what to do with an image whose configuration names another operating system or architecture than the node's: Refuse, or Mount")
	f.StringVar(&o.maxImageSize, contract.FlagMaxImageSize, "", "the largest image that may be a volume, such as 20Gi, as the runtime counts its size (default: no limit)")
	f.Int64Var(&o.maxVolumes, contract.FlagMaxVolumes, 0, "maximum number of volumes reported to the scheduler (default: as many mounts as the kernel allows)")
	f.DurationVar(&o.releaseAfter, contract.FlagReleaseAfter, o.releaseAfter, "how long an image that no volume uses is kept from garbage collection")
	f.DurationVar(&o.orphanAfter, contract.FlagOrphanAfter, o.orphanAfter, "how long the data of a writable volume is kept once its pod's directory is gone")
	f.BoolVar(&o.legacyMetrics, contract.FlagWarmMetalMetrics, false, "serve the four warm_metal_* metrics of the legacy driver as well")
	f.StringVar(&o.confinement, contract.FlagConfinement, "", "what the container should run under, as the operator writes it; with less, the node plugin does not serve (default: nothing)")
	f.StringVar(&o.sandboxProfile, contract.FlagSandboxProfile, "", "the seccomp profile of sandboxes to keep on the node, by its path beneath the kubelet's directory for profiles (default: none)")
	f.StringVar(&o.logLevel, contract.FlagLogLevel, o.logLevel, "error, info or debug")
}

// names returns the driver's names, the primary one first, each once.
func (o *options) names() []string {
	names := []string{o.driverName}
	for _, alias := range o.aliases {
		if !slices.Contains(names, alias) {
			names = append(names, alias)
		}
	}
	return names
}

// pluginDir returns the driver's directory, with its sockets and its data.
func (o *options) pluginDir() string {
	return filepath.Join(o.kubeletRoot, contract.PluginsDir, o.driverName)
}

// registryDir returns where the kubelet looks for registration sockets.
func (o *options) registryDir() string { return filepath.Join(o.kubeletRoot, contract.RegistryDir) }

// complete checks the flags and returns all errors at once.
func (o *options) complete() error {
	var errs []error
	wrong := func(flag, format string, args ...any) {
		errs = append(errs, fmt.Errorf("--%s: %s", flag, fmt.Sprintf(format, args...)))
	}
	for _, name := range o.names() {
		if err := server.ValidateName(name); err != nil {
			wrong(contract.FlagDriverName+" or --"+contract.FlagAlias, "%v", err)
		}
	}
	if o.nodeName == "" {
		wrong(contract.FlagNodeName, "it is empty, and so is $%s", contract.NodeNameEnv)
	}
	if o.runtime != contract.RuntimeContainerd && o.runtime != contract.RuntimeCRIO {
		wrong(contract.FlagRuntime, "%q is neither %s nor %s", o.runtime, contract.RuntimeContainerd, contract.RuntimeCRIO)
	}
	if o.mountMode != contract.ModeNsenter && o.mountMode != contract.ModeBidirectional {
		wrong(contract.FlagMountMode, "%q is neither %s nor %s", o.mountMode, contract.ModeNsenter, contract.ModeBidirectional)
	}
	if !filepath.IsAbs(o.kubeletRoot) || filepath.Clean(o.kubeletRoot) == "/" {
		wrong(contract.FlagKubeletRoot, "%q is not an absolute path to a directory of the kubelet's own", o.kubeletRoot)
	}
	for flag, paths := range map[string][]string{
		contract.FlagStorageRoot: {o.storageRoot}, contract.FlagRunRoot: {o.runRoot}, contract.FlagImageStore: {o.imageStore},
		contract.FlagAdditionalStore: o.additionalStores,
	} {
		for _, path := range paths {
			if (path != "" && !filepath.IsAbs(path)) || strings.Contains(path, ",") {
				wrong(flag, "%q is not an absolute path without commas", path)
			}
		}
	}
	if o.policyDir != "" && !filepath.IsAbs(o.policyDir) {
		wrong(contract.FlagPolicyDir, "%q is not an absolute path", o.policyDir)
	}
	if o.credentialsDir != "" && !filepath.IsAbs(o.credentialsDir) {
		wrong(contract.FlagCredentialsDir, "%q is not an absolute path", o.credentialsDir)
	}
	if o.providerSocket != "" && !filepath.IsAbs(o.providerSocket) {
		wrong(contract.FlagProviderSocket, "%q is not an absolute path", o.providerSocket)
	}
	if o.imageRules != "" && !filepath.IsAbs(o.imageRules) {
		wrong(contract.FlagImageRules, "%q is not an absolute path", o.imageRules)
	}
	if o.maxParallelPulls < 1 {
		wrong(contract.FlagMaxParallelPulls, "%d is less than 1", o.maxParallelPulls)
	}
	if o.maxVolumes < 0 {
		wrong(contract.FlagMaxVolumes, "%d is less than 0", o.maxVolumes)
	}
	if o.releaseAfter <= 0 {
		wrong(contract.FlagReleaseAfter, "%s is not longer than 0", o.releaseAfter)
	}
	if o.orphanAfter <= 0 {
		wrong(contract.FlagOrphanAfter, "%s is not longer than 0", o.orphanAfter)
	}
	var err error
	if o.policy, err = contract.ParsePullPolicy(o.pullPolicy); err != nil {
		wrong(contract.FlagPullPolicy, "%v", err)
	}
	if o.pods, err = contract.Parse(o.access, contract.AccessReadWrite, contract.AccessReadOnly); err != nil {
		wrong(contract.FlagAccess, "%v", err)
	}
	if o.maxImageBytes, err = pull.ParseMaxImageSize(o.maxImageSize); err != nil {
		wrong(contract.FlagMaxImageSize, "%v", err)
	}
	if o.verify, err = contract.Parse(o.verifyCached, contract.NeverVerify, contract.NeverVerifyPreloadedImages, contract.AlwaysVerify); err != nil {
		wrong(contract.FlagVerify, "%v", err)
	}
	if o.fallback, err = contract.Parse(o.limitFallback, contract.FallbackRefuse, contract.FallbackMemory); err != nil {
		wrong(contract.FlagLimitFallback, "%v", err)
	}
	if o.others, err = contract.Parse(o.otherPlatforms, contract.OtherPlatformsRefuse, contract.OtherPlatformsMount); err != nil {
		wrong(contract.FlagOtherPlatforms, "%v", err)
	}
	if o.limits, err = server.ParseSizeLimits(o.defaultSizeLimit, o.maxSizeLimit); err != nil {
		wrong(contract.FlagDefaultSizeLimit+" and --"+contract.FlagMaxSizeLimit, "%v", err)
	}
	if o.container, err = contract.ParseConfinement(o.confinement); err == nil {
		o.dropped, err = privileges.ParseDropped(o.container.Dropped)
	}
	if err != nil {
		wrong(contract.FlagConfinement, "%v", err)
	}
	switch o.logLevel {
	case "error", "info", "debug":
		_ = o.level.UnmarshalText([]byte(o.logLevel))
	default:
		wrong(contract.FlagLogLevel, "%q is not one of error, info, debug", o.logLevel)
	}
	o.kubeletRoot = filepath.Clean(o.kubeletRoot)
	if o.runtimeEndpoint == "" {
		o.runtimeEndpoint = endpoints(o.runtime)
	}
	return errors.Join(errs...)
}
