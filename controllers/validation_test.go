package controllers_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/image-csi/image-csi-operator/api/v1alpha1"
)

func TestAnEmptySpecIsCompleteAndShowsItsDefaults(t *testing.T) {
	c := newCluster(t)
	want := v1alpha1.ImageCSIDriverSpec{
		ManagementState: v1alpha1.Managed,
		VolumesInUse:    v1alpha1.VolumesWait,
		NodePlugin: v1alpha1.NodePlugin{ImagePullPolicy: corev1.PullIfNotPresent, PriorityClassName: "system-node-critical",
			SeccompProfile: v1alpha1.SeccompRuntimeDefault, LogLevel: v1alpha1.LogInfo, CompatibilityMetrics: v1alpha1.CompatibilityMetricsDisabled},
		Volumes:     v1alpha1.Volumes{Access: v1alpha1.AccessReadWrite, PullPolicy: corev1.PullIfNotPresent, MaxParallelPulls: 4, SizeLimitFallback: v1alpha1.FallbackRefuse, OtherPlatforms: v1alpha1.OtherPlatformsRefuse},
		Credentials: v1alpha1.Credentials{Verification: v1alpha1.NeverVerifyPreloadedImages},
		Security:    v1alpha1.Security{ImagePinning: v1alpha1.PinningOptional},
		Rollout: v1alpha1.Rollout{State: v1alpha1.RolloutActive, Canary: &v1alpha1.Canary{Nodes: ptr.To[int32](1)},
			MaxUnavailable: ptr.To(intstr.FromString("10%")), MinReadySeconds: ptr.To[int32](30), ProgressDeadlineSeconds: ptr.To[int32](300)},
	}
	for name, text := range map[string]string{
		"empty.example.com": "spec: {}",
		"none.example.com":  "",
		"part.example.com":  "spec: {nodePlugin: {}, volumes: {}}",
	} {
		c.Expect(c.create(name, text)).To(Succeed(), text)
		var driver v1alpha1.ImageCSIDriver
		c.Expect(c.Get(c.ctx, client.ObjectKey{Name: name}, &driver)).To(Succeed())
		c.Expect(driver.Spec).To(Equal(want), text)
	}
}

// create sends a driver as somebody would write it.
func (c *cluster) create(name, text string) error {
	object := &unstructured.Unstructured{Object: map[string]any{}}
	if err := yaml.Unmarshal([]byte(text), &object.Object); err != nil {
		return err
	}
	object.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind("ImageCSIDriver"))
	object.SetName(name)
	return c.Create(c.ctx, object)
}

func TestValidation(t *testing.T) {
	const (
		pathRule     = "a host path must be absolute, without '..', '//' or a trailing slash"
		endpointRule = "runtimeEndpoint must be unix:// and the absolute path of a socket inside a directory"
		relativePath = "localhostProfile must be a relative path"
		incomplete   = "a class that is not built in must set match, mountMode and runtimeEndpoint"
		nameRule     = "a CSI driver name must consist of lower-case letters, digits, '-' and '.'"
		allowedRule  = "an allowed image must be a repository with its registry's host"
		canary       = "canary must have either nodes, a number, or nodeSelector"
		number       = "maxUnavailable must be a number of nodes from 1 to 5000 or a percentage from 1% to 100%"
		imageRule    = "image must be an image reference, as in registry.example.com/team/image:1.2"
		keyRule      = "key must be a name of at most 63 letters, digits, '-', '_' and '.'"
		valueRule    = "a label value must consist of letters, digits, '-', '_' and '.'"
		ourLabels    = "nodes must not be selected by labels under imagecsi.dev/"
		resourceRule = "a resource must be cpu, memory, ephemeral-storage, hugepages-SIZE, or an extended resource"
	)
	class := func(text string) string { return "spec: {nodeClasses: [" + text + "]}" }
	confined := func(text string) string { return "spec: {nodePlugin: {confinement: {" + text + "}}}" }
	terms := func(text string) string {
		return "spec: {nodePlugin: {nodeSelectorTerms: [{matchExpressions: [" + text + "]}]}}"
	}
	plugin := func(text string) string { return "spec: {nodePlugin: {" + text + "}}" }
	canaries := func(labels string) string { return "spec: {rollout: {canary: {nodeSelector: {" + labels + "}}}}" }
	tolerations := func(text string) string { return plugin("tolerations: [{" + text + "}]") }
	resources := func(requests, limits string) string {
		return plugin("resources: {requests: {" + requests + "}, limits: {" + limits + "}}")
	}
	providers := func(text string) string { return "spec: {credentials: {providers: {" + text + "}}}" }
	tests := map[string]struct {
		name    string // of the object; default: a good one
		text    string
		refused string // what the answer has to say; empty: it is accepted
	}{
		"name of 63 characters": {name: strings.Repeat("a", 51) + ".example.com"},
		"name of 64 characters": {name: strings.Repeat("a", 52) + ".example.com", refused: "metadata.name is the CSI driver's name and must have at most 63 characters"},
		"volumes ignored":       {text: "spec: {volumesInUse: Ignore}"},
		"volumes forced":        {text: "spec: {volumesInUse: Force}", refused: "Unsupported value"},
		"unknown state":         {text: "spec: {managementState: Paused}", refused: "Unsupported value"},

		"two aliases":               {text: "spec: {aliases: [a.example.com, b.example.com]}"},
		"alias twice":               {text: "spec: {aliases: [a.example.com, a.example.com]}", refused: "Duplicate value"},
		"alias is the name":         {text: "spec: {aliases: [test.example.com]}", refused: "spec.aliases must not repeat metadata.name"},
		"alias with capitals":       {text: "spec: {aliases: [A.example.com]}", refused: nameRule},
		"alias with an empty part":  {text: "spec: {aliases: [a..com]}", refused: nameRule},
		"alias ending with a dash":  {text: "spec: {aliases: [a-]}", refused: nameRule},
		"alias of 64 characters":    {text: "spec: {aliases: [" + strings.Repeat("a", 64) + "]}", refused: "Too long"},
		"selector":                  {text: "spec: {nodePlugin: {nodeSelector: {pool: a}}}"},
		"selector on our own label": {text: "spec: {nodePlugin: {nodeSelector: {imagecsi.dev/node-class: a}}}", refused: ourLabels},
		"selector with a long key":  {text: "spec: {nodePlugin: {nodeSelector: {" + strings.Repeat("k", 318) + ": a}}}", refused: keyRule},

		"selector that says not": {text: terms("{key: pool, operator: NotIn, values: [gpu, edge]}, {key: type, operator: DoesNotExist}")},
		"not in nothing":         {text: terms("{key: pool, operator: NotIn}"), refused: "operators In and NotIn must have values"},
		"in an empty list":       {text: terms("{key: pool, operator: In, values: []}"), refused: "operators In and NotIn must have values"},
		"exists with a value":    {text: terms("{key: pool, operator: Exists, values: [a]}"), refused: "Exists and DoesNotExist must not"},
		"greater than":           {text: terms("{key: pool, operator: Gt, values: ['1']}"), refused: "Unsupported value"},
		"term on our own label":  {text: terms("{key: imagecsi.dev/node-class, operator: Exists}"), refused: ourLabels},
		"term of nothing":        {text: terms(""), refused: "should have at least 1 items"},
		"term on no label":       {text: terms("{key: 'bad key!', operator: Exists}"), refused: keyRule},
		"term without a key":     {text: terms("{key: '', operator: Exists}"), refused: "should be at least 1 chars long"},
		"term with no value":     {text: terms("{key: pool, operator: In, values: ['a b']}"), refused: valueRule},

		"selector on a prefixed label":     {text: plugin("nodeSelector: {node.example.com/a_B.c-d: 'X_1.y'}")},
		"selector on an empty value":       {text: plugin("nodeSelector: {node-role.kubernetes.io/control-plane: ''}")},
		"selector on no label":             {text: plugin("nodeSelector: {'bad key!': x}"), refused: keyRule},
		"selector on a label of two parts": {text: plugin("nodeSelector: {a/b/c: x}"), refused: keyRule},
		"selector on a prefix in capitals": {text: plugin("nodeSelector: {A.com/b: x}"), refused: keyRule},
		"selector on a name of 63":         {text: plugin("nodeSelector: {a.com/" + strings.Repeat("k", 63) + ": x}")},
		"selector on a name of 64":         {text: plugin("nodeSelector: {a.com/" + strings.Repeat("k", 64) + ": x}"), refused: keyRule},
		"selector on a prefix of 254":      {text: plugin("nodeSelector: {" + strings.Repeat("k", 254) + "/a: x}"), refused: keyRule},
		"selector on no value":             {text: plugin("nodeSelector: {a: 'b c'}"), refused: valueRule},
		"canaries on no label":             {text: canaries("'k k': x"), refused: keyRule},
		"canaries on no value":             {text: canaries("k: -x"), refused: valueRule},
		"match on no label":                {text: class("{name: k3s, match: {runtime: containerd, nodeLabels: {k.: a}}}"), refused: keyRule},
		"image with a tag":                 {text: plugin("image: localhost:5000/team/plugin:v1.2_3")},
		"image with a digest":              {text: plugin("image: 'r.example/plugin:1@sha256:" + strings.Repeat("0a", 32) + "'")},
		"image of an IPv6 registry":        {text: plugin("image: '[fd00::1]:5000/plugin'")},
		"image by a short name":            {text: plugin("image: plugin")},
		"image of words":                   {text: plugin("image: 'Not An Image!!'"), refused: imageRule},
		"image in capitals":                {text: plugin("image: r.example/Plugin"), refused: imageRule},
		"image with a scheme":              {text: plugin("image: 'https://r.example/plugin'"), refused: imageRule},
		"image with an empty tag":          {text: plugin("image: 'r.example/plugin:'"), refused: imageRule},
		"image with a short digest":        {text: plugin("image: 'r.example/plugin@sha256:0a'"), refused: imageRule},
		"image with a space":               {text: plugin("image: 'r.example/plugin '"), refused: imageRule},
		"image that is an ID":              {text: plugin("image: '" + strings.Repeat("0a", 32) + "'"), refused: imageRule},
		"tolerations":                      {text: tolerations("key: a, operator: Exists}, {key: b.com/c, value: d, effect: NoExecute, tolerationSeconds: 60}, {operator: Exists")},
		"toleration by a number":           {text: tolerations("key: a, operator: Gt, value: '10'")},
		"toleration of nothing":            {text: tolerations(""), refused: "a toleration without key must have operator Exists"},
		"toleration without a key":         {text: tolerations("operator: Equal, value: a"), refused: "a toleration without key must have operator Exists"},
		"toleration, misspelt operator":    {text: tolerations("key: a, operator: Exist"), refused: `Unsupported value: "Exist"`},
		"toleration, misspelt effect":      {text: tolerations("key: a, operator: Exists, effect: NoRun"), refused: `Unsupported value: "NoRun"`},
		"toleration of no key":             {text: tolerations("key: 'a b', operator: Exists"), refused: keyRule},
		"toleration of no value":           {text: tolerations("key: a, value: 'b c'"), refused: valueRule},
		"toleration of any value and one":  {text: tolerations("key: a, operator: Exists, value: b"), refused: "a toleration with operator Exists must not have a value"},
		"toleration greater than a word":   {text: tolerations("key: a, operator: Gt, value: b"), refused: "must have a whole number as value"},
		"toleration for a time":            {text: tolerations("key: a, operator: Exists, tolerationSeconds: 60"), refused: "a toleration with tolerationSeconds must have effect NoExecute"},
		"limits above requests":            {text: resources("cpu: 10m, memory: 64Mi", "cpu: 1, memory: 0.5Gi")},
		"limits equal to requests":         {text: resources("cpu: 1000m, memory: 1024Ki", "cpu: 1, memory: 1Mi")},
		"requests of one, limits of other": {text: resources("cpu: 2", "memory: 1Mi")},
		"cpu limit below the request":      {text: resources("cpu: 1", "cpu: 500m"), refused: "requests.cpu must not exceed limits.cpu"},
		"memory limit below the request":   {text: resources("memory: 1Gi", "memory: 512Mi"), refused: "requests.memory must not exceed limits.memory"},
		"storage limit below the request":  {text: resources("ephemeral-storage: 2Gi", "ephemeral-storage: 1G"), refused: "requests.ephemeral-storage must not exceed limits.ephemeral-storage"},
		"negative request":                 {text: resources("memory: -1Mi", ""), refused: "requests must not be negative"},
		"negative limit":                   {text: resources("", "cpu: -1"), refused: "limits must not be negative"},
		"misspelt resource":                {text: resources("cpus: 1", ""), refused: resourceRule},
		"extended resource":                {text: resources("example.com/gpu: 1, hugepages-2Mi: 2Mi", "example.com/gpu: 1, hugepages-2Mi: 2Mi")},
		"priority class in capitals":       {text: plugin("priorityClassName: High"), refused: "the name of a priority class must consist of lower-case letters"},

		"allowed images":         {text: "spec: {security: {allowedImages: [docker.io/library/busybox, localhost/a, r.example:5000/x/, r.example/]}}"},
		"an image's tag":         {text: "spec: {security: {allowedImages: ['docker.io/library/busybox:1']}}", refused: allowedRule},
		"a short image name":     {text: "spec: {security: {allowedImages: [busybox]}}", refused: allowedRule},
		"a short image path":     {text: "spec: {security: {allowedImages: [library/busybox]}}", refused: allowedRule},
		"a registry alone":       {text: "spec: {security: {allowedImages: [r.example]}}", refused: allowedRule},
		"another pinning":        {text: "spec: {security: {imagePinning: Tag}}", refused: "imagePinning"},
		"refused content":        {text: "spec: {security: {refusedContent: [SetIDFiles, FileCapabilities, DeviceNodes]}}"},
		"content of no kind":     {text: "spec: {security: {refusedContent: [setuid]}}", refused: "refusedContent"},
		"content twice":          {text: "spec: {security: {refusedContent: [SetIDFiles, SetIDFiles]}}", refused: "refusedContent"},
		"image size":             {text: "spec: {volumes: {maxImageSize: 20Gi}}"},
		"image size in bytes":    {text: "spec: {volumes: {maxImageSize: 1000000}}"},
		"image size of nothing":  {text: "spec: {volumes: {maxImageSize: 0}}", refused: "maxImageSize must be greater than 0"},
		"image size below that":  {text: "spec: {volumes: {maxImageSize: -1Gi}}", refused: "maxImageSize must be greater than 0"},
		"image size of all":      {text: "spec: {volumes: {maxImageSize: '1e99'}}", refused: "at most 1Ei"},
		"the largest image size": {text: "spec: {volumes: {maxImageSize: 1Ei}}"},
		"image size in words":    {text: "spec: {volumes: {maxImageSize: much}}", refused: "spec.volumes.maxImageSize"},
		"size limits":            {text: "spec: {volumes: {defaultSizeLimit: 1Gi, maxSizeLimit: 1024Mi}}"},
		"size limits in bytes":   {text: "spec: {volumes: {defaultSizeLimit: 2000000, maxSizeLimit: 2M}}"},
		"one size limit":         {text: "spec: {volumes: {maxSizeLimit: 10Gi}}"},
		"limits in memory":       {text: "spec: {volumes: {sizeLimitFallback: Memory}}"},
		"read-only volumes":      {text: "spec: {volumes: {access: ReadOnly}}"},
		"volumes to write only":  {text: "spec: {volumes: {access: WriteOnly}}", refused: "access"},
		"data of any platform":   {text: "spec: {volumes: {otherPlatforms: Mount}}"},
		"platforms by emulation": {text: "spec: {volumes: {otherPlatforms: Emulate}}", refused: "otherPlatforms"},
		"limits on a loop":       {text: "spec: {volumes: {sizeLimitFallback: Loop}}", refused: "sizeLimitFallback"},
		"default size too large": {text: "spec: {volumes: {defaultSizeLimit: 2Gi, maxSizeLimit: 1Gi}}", refused: "defaultSizeLimit must not exceed maxSizeLimit"},
		"default size too small": {text: "spec: {volumes: {defaultSizeLimit: 1k}}", refused: "defaultSizeLimit must be at least 1Mi"},
		"largest size too small": {text: "spec: {volumes: {maxSizeLimit: 0}}", refused: "maxSizeLimit must be at least 1Mi"},
		"secrets":                {text: "spec: {credentials: {secrets: [{name: a}, {name: b.c-d}]}}"},
		"secret twice":           {text: "spec: {credentials: {secrets: [{name: a}, {name: a}]}}", refused: "Duplicate value"},
		"secret named like path": {text: "spec: {credentials: {secrets: [{name: ../a}]}}", refused: "a secret's name must consist of lower-case letters"},
		"providers":              {text: providers("configPath: /etc/p.yaml, binDir: /opt/p")},
		"providers with tokens":  {text: providers("configPath: /etc/p, configType: Directory, binDir: /opt/p, tokenAudiences: [a, 'https://b']")},
		"providers, no programs": {text: providers("configPath: /etc/p.yaml"), refused: "spec.credentials.providers.binDir: Required value"},
		"providers, no config":   {text: providers("binDir: /opt/p"), refused: "spec.credentials.providers.configPath: Required value"},
		"providers in one place": {text: providers("configPath: /opt/p, binDir: /opt/p"), refused: "configPath and binDir must be two different paths"},
		"providers outside":      {text: providers("configPath: /etc/../p.yaml, binDir: /opt/p"), refused: pathRule},
		"config of another type": {text: providers("configPath: /etc/p, configType: Link, binDir: /opt/p"), refused: "Unsupported value"},
		"audience twice":         {text: providers("configPath: /etc/p, binDir: /opt/p, tokenAudiences: [a, a]"), refused: "Duplicate value"},
		"empty audience":         {text: providers("configPath: /etc/p, binDir: /opt/p, tokenAudiences: ['']"), refused: "tokenAudiences[0]"},
		"unknown verification":   {text: "spec: {credentials: {verification: Sometimes}}", refused: "Unsupported value"},

		"sandboxes":           {text: "spec: {nestedSandboxes: {}}"},
		"sandboxes by a name": {text: "spec: {nestedSandboxes: {engine: Bubblewrap}}"},
		"sandboxes of a VM":   {text: "spec: {nestedSandboxes: {engine: Kata}}", refused: "Unsupported value"},

		"percentage":          {text: "spec: {rollout: {maxUnavailable: 100%}}"},
		"number of nodes":     {text: "spec: {rollout: {maxUnavailable: 1}}"},
		"no node":             {text: "spec: {rollout: {maxUnavailable: 0}}", refused: number},
		"zero percent":        {text: "spec: {rollout: {maxUnavailable: 0%}}", refused: number},
		"more than everybody": {text: "spec: {rollout: {maxUnavailable: 101%}}", refused: number},
		"no percentage":       {text: "spec: {rollout: {maxUnavailable: many}}", refused: number},

		"no canaries":              {text: "spec: {rollout: {canary: {nodes: 0}}}"},
		"selected canaries":        {text: "spec: {rollout: {canary: {nodeSelector: {pool: canary}}}}"},
		"canaries twice":           {text: "spec: {rollout: {canary: {nodes: 1, nodeSelector: {pool: canary}}}}", refused: canary},
		"canaries without a word":  {text: "spec: {rollout: {canary: {}}}", refused: canary},
		"canaries of every node":   {text: "spec: {rollout: {canary: {nodeSelector: {}}}}", refused: "should have at least 1 properties"},
		"negative canaries":        {text: "spec: {rollout: {canary: {nodes: -1}}}", refused: "greater than or equal to 0"},
		"unknown rollout state":    {text: "spec: {rollout: {state: Stopped}}", refused: "Unsupported value"},
		"deadline before it began": {text: "spec: {rollout: {minReadySeconds: 300}}", refused: "minReadySeconds must be less than progressDeadlineSeconds"},
		"short deadline":           {text: "spec: {rollout: {minReadySeconds: 0, progressDeadlineSeconds: 1}}"},

		"override of one field":           {text: class("{name: k3s, kubeletRoot: /data/kubelet}")},
		"override with its own runtime":   {text: class("{name: crio, match: {runtime: cri-o}}")},
		"override with another runtime":   {text: class("{name: crio, match: {runtime: containerd}}"), refused: "a built-in class keeps its runtime: match.runtime must be cri-o here"},
		"override with cri-o":             {text: class("{name: k0s, match: {runtime: cri-o}}"), refused: "a built-in class keeps its runtime: match.runtime must be containerd here"},
		"Nsenter for crio":                {text: class("{name: crio, mountMode: Nsenter}, {name: openshift, mountMode: Nsenter}")},
		"another mount mode":              {text: class("{name: crio, mountMode: Shared}"), refused: "Unsupported value"},
		"Bidirectional for containerd":    {text: class("{name: containerd, mountMode: Bidirectional}")},
		"profiles of a node":              {text: confined("seccompProfile: {type: Localhost, localhostProfile: a/b.json}, appArmorProfile: {type: Localhost, localhostProfile: ours}, seLinuxOptions: {type: own_t, level: 's0-s0:c0.c1023'}")},
		"profiles without names":          {text: confined("seccompProfile: {type: RuntimeDefault}, appArmorProfile: {type: Unconfined}, seLinuxOptions: {type: spc_t}")},
		"seccomp profile without a file":  {text: confined("seccompProfile: {type: Localhost}"), refused: "localhostProfile must be set with type Localhost, and with no other type"},
		"AppArmor profile without a name": {text: confined("appArmorProfile: {type: Localhost}"), refused: "localhostProfile must be set with type Localhost, and with no other type"},
		"a file of the runtime":           {text: confined("seccompProfile: {type: RuntimeDefault, localhostProfile: a}"), refused: "localhostProfile must be set with type Localhost, and with no other type"},
		"seccomp Unconfined":              {text: confined("seccompProfile: {type: Unconfined}"), refused: "Unsupported value"},
		"AppArmor RuntimeDefault":         {text: confined("appArmorProfile: {type: RuntimeDefault}"), refused: "Unsupported value"},
		"seccomp profile elsewhere":       {text: confined("seccompProfile: {type: Localhost, localhostProfile: ../a}"), refused: relativePath},
		"seccomp profile absolute":        {text: confined("seccompProfile: {type: Localhost, localhostProfile: /a}"), refused: relativePath},
		"AppArmor profile unconfined":     {text: confined("appArmorProfile: {type: Localhost, localhostProfile: unconfined}"), refused: "must be the name of an AppArmor profile"},
		"two AppArmor profiles":           {text: confined("appArmorProfile: {type: Localhost, localhostProfile: a//&b}"), refused: "must be the name of an AppArmor profile"},
		"SELinux level without a type":    {text: confined("seLinuxOptions: {level: s0}"), refused: "Required value"},
		"SELinux type with a level":       {text: confined("seLinuxOptions: {type: 'own_t:s0'}"), refused: "type must be an SELinux type"},
		"SELinux level without sense":     {text: confined("seLinuxOptions: {type: own_t, level: 's0;c1'}"), refused: "level must be an SELinux level"},
		"capabilities less":               {text: confined("dropCapabilities: [FSETID, MKNOD, SETFCAP]")},
		"no capability less":              {text: class("{name: k3s, confinement: {dropCapabilities: []}}")},
		"a capability that is needed":     {text: confined("dropCapabilities: [SYS_ADMIN]"), refused: "Unsupported value"},
		"another spelling":                {text: confined("dropCapabilities: [CAP_MKNOD]"), refused: "Unsupported value"},
		"a capability twice":              {text: confined("dropCapabilities: [MKNOD, MKNOD]"), refused: "Duplicate value"},
		"a label of volumes":              {text: confined("volumeSELinuxOptions: {type: container_ro_file_t, level: 's0:c1,c2'}")},
		"a label of volumes without type": {text: confined("volumeSELinuxOptions: {level: s0}"), refused: "Required value"},
		"a label with an option":          {text: confined("volumeSELinuxOptions: {type: 'a_t\",upperdir=/etc'}"), refused: "type must be an SELinux type"},
		"a range as a label of files":     {text: confined("volumeSELinuxOptions: {type: a_t, level: s0-s0:c0.c1023}"), refused: "level must be an SELinux level"},
		"two seccomp profiles":            {text: "spec: {nodePlugin: {seccompProfile: Narrow, confinement: {seccompProfile: {type: RuntimeDefault}}}}", refused: "are two seccomp profiles for one container"},
		"Narrow with another choice":      {text: "spec: {nodePlugin: {seccompProfile: Narrow, confinement: {appArmorProfile: {type: Unconfined}}}}"},
		"profiles of a class":             {text: class("{name: crio, mountMode: Nsenter, confinement: {appArmorProfile: {type: Unconfined}}}, {name: k3s, confinement: {seLinuxOptions: {type: own_t}}}")},
		"profiles of a privileged class":  {text: class("{name: crio, confinement: {}}"), refused: "confinement needs mountMode Nsenter"},
		"profiles of mode Bidirectional":  {text: class("{name: k3s, mountMode: Bidirectional, confinement: {}}"), refused: "confinement needs mountMode Nsenter"},
		"the network of nodes":            {text: class("{name: k3s, network: Host}, {name: crio, network: Pod}")},
		"a network of neither":            {text: class("{name: k3s, network: None}"), refused: "Unsupported value"},
		"a port for health and metrics":   {text: plugin("httpPort: 9090")},
		"a port of the system's":          {text: plugin("httpPort: 80"), refused: "should be greater than or equal to 1024"},
		"a port that is none":             {text: plugin("httpPort: 65536"), refused: "should be less than or equal to 65535"},
		"class twice":                     {text: class("{name: k3s}, {name: k3s}"), refused: "Duplicate value"},
		"misspelt built-in class":         {text: class("{name: k3, kubeletRoot: /data/kubelet}"), refused: incomplete},
		"added class":                     {text: class("{name: mine, match: {runtime: containerd}, mountMode: Nsenter, runtimeEndpoint: unix:///run/mine/c.sock}")},
		"added class without mount mode":  {text: class("{name: mine, match: {runtime: containerd}, runtimeEndpoint: unix:///run/mine/c.sock}"), refused: incomplete},
		"added class without endpoint":    {text: class("{name: mine, match: {runtime: containerd}, mountMode: Nsenter}"), refused: incomplete},
		"added class, Nsenter for cri-o":  {text: class("{name: mine, match: {runtime: cri-o}, mountMode: Nsenter, runtimeEndpoint: unix:///run/mine/c.sock}")},
		"class name with a dot":           {text: class("{name: my.class}"), refused: "a class name must consist of lower-case letters, digits and '-'"},
		"match on our own label":          {text: class("{name: k3s, match: {runtime: containerd, nodeLabels: {imagecsi.dev/x: a}}}"), refused: ourLabels},
		"match with a long key":           {text: class("{name: k3s, match: {runtime: containerd, nodeLabels: {" + strings.Repeat("k", 318) + ": a}}}"), refused: keyRule},
		"match on docker":                 {text: class("{name: k3s, match: {runtime: docker}}"), refused: "Unsupported value"},
		"relative path":                   {text: class("{name: k3s, kubeletRoot: var/lib}"), refused: pathRule},
		"path with a trailing slash":      {text: class("{name: k3s, kubeletRoot: /var/lib/}"), refused: pathRule},
		"path with ..":                    {text: class("{name: k3s, storageRoot: /var/../etc}"), refused: pathRule},
		"path with .":                     {text: class("{name: k3s, storageRoot: /var/./etc}"), refused: pathRule},
		"path with //":                    {text: class("{name: k3s, storageRoot: /var//etc}"), refused: pathRule},
		"path with a name that starts ..": {text: class("{name: k3s, storageRoot: /var/..data}")},
		"TCP endpoint":                    {text: class("{name: k3s, runtimeEndpoint: 'tcp://127.0.0.1:10'}"), refused: endpointRule},
		"endpoint with two slashes":       {text: class("{name: k3s, runtimeEndpoint: 'unix://run/c.sock'}"), refused: endpointRule},
		"endpoint with ..":                {text: class("{name: k3s, runtimeEndpoint: 'unix:///run/../c.sock'}"), refused: endpointRule},
		"endpoint that would mount /":     {text: class("{name: k3s, runtimeEndpoint: 'unix:///c.sock'}"), refused: endpointRule},
	}
	c := newCluster(t)
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			if test.name == "" {
				test.name = "test.example.com"
			}
			err := c.create(test.name, test.text)
			if test.refused == "" {
				g.Expect(err).NotTo(HaveOccurred())
				g.Expect(c.Delete(c.ctx, &v1alpha1.ImageCSIDriver{ObjectMeta: metav1.ObjectMeta{Name: test.name}})).To(Succeed())
				return
			}
			g.Expect(apierrors.IsInvalid(err)).To(BeTrue(), "error %v", err)
			g.Expect(err.Error()).To(ContainSubstring(test.refused))
		})
	}
}

// The page has settings to paste for distributions whose paths are elsewhere.
func TestTheSettingsOfTheOperatorsPageAreAccepted(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("..", "docs", "operator.md"))
	if err != nil {
		t.Fatal(err)
	}
	blocks := regexp.MustCompile("(?s)```yaml\n(.*?)```").FindAllStringSubmatch(string(text), -1)
	c := newCluster(t)
	classes := 0
	for _, block := range blocks {
		if !strings.HasPrefix(strings.TrimSpace(block[1]), "spec:") {
			continue
		}
		if strings.Contains(block[1], "nodeClasses:") {
			classes++
		}
		c.Expect(c.create("page.example.com", block[1])).To(Succeed(), block[1])
		c.deleteDriver("page.example.com")
	}
	c.Expect(classes).To(BeNumerically(">=", 6), "blocks with node classes")
}

// A quantity's cost is in its value: the API server computes with it in CEL, and everybody else who reads the object when it
// is decoded. None that is costly gets as far as that.
func TestNoQuantityCostsTheAPIServerOrTheOperatorMoreThanALook(t *testing.T) {
	const exponents = "exponent of at most two characters"
	c := newCluster(t)
	for field, refused := range map[string]string{
		"volumes: {maxImageSize: %s}":                                             "maxImageSize must be greater than 0 and at most 1Ei",
		"volumes: {defaultSizeLimit: %s}":                                         "defaultSizeLimit must be at least 1Mi and at most 1Ei",
		"volumes: {maxSizeLimit: %s}":                                             "maxSizeLimit must be at least 1Mi and at most 1Ei",
		"volumes: {maxSizeLimit: 1Gi, defaultSizeLimit: %s}":                      "defaultSizeLimit must be at least 1Mi and at most 1Ei",
		"nodePlugin: {resources: {requests: {memory: %s}}}":                       exponents,
		"nodePlugin: {resources: {limits: {cpu: %s}}}":                            exponents,
		"nodePlugin: {resources: {limits: {memory: 1Gi, cpu: %[1]s}}}":            exponents,
		"nodePlugin: {resources: {requests: {cpu: %[1]s}, limits: {cpu: %[1]s}}}": exponents,
	} {
		for _, costly := range []string{"1e-2147483647", "1e2147483647", "1E-9999999", "0.1e999999", "-1e-99999999", "1e+99999999"} {
			ctx, cancel := context.WithTimeout(c.ctx, 10*time.Second)
			began := time.Now()
			err := (&cluster{T: t, Client: c.Client, ctx: ctx}).create("costly.example.com", "spec: {"+fmt.Sprintf(field, "'"+costly+"'")+"}")
			cancel()
			if !apierrors.IsInvalid(err) || !strings.Contains(err.Error(), refused) {
				t.Errorf(field+" after %s: %v, want %q", costly, time.Since(began), err, refused)
			}
		}
	}
	for _, good := range []string{"500m", "0.5", "2", "1e3", "64Mi", "1.5Gi"} {
		err := c.create("good.example.com", "spec: {nodePlugin: {resources: {requests: {memory: '"+good+"'}, limits: {cpu: '"+good+"', memory: '"+good+"'}}}}")
		c.Expect(err).To(Succeed(), good)
		c.Expect(c.Delete(c.ctx, &v1alpha1.ImageCSIDriver{ObjectMeta: metav1.ObjectMeta{Name: "good.example.com"}})).To(Succeed())
	}
}
