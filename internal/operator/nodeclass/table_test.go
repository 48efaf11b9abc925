package nodeclass

import (
	"errors"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/sets"

	"github.com/image-csi/image-csi-operator/api/v1alpha1"
	"github.com/image-csi/image-csi-operator/internal/contract"
)

func node(runtime string, edits ...func(*corev1.Node)) *corev1.Node {
	n := &corev1.Node{}
	n.Name = "worker"
	n.Labels = map[string]string{}
	n.Status.NodeInfo.OperatingSystem = "linux"
	n.Status.NodeInfo.OSImage = "Debian GNU/Linux 12 (bookworm)"
	n.Status.NodeInfo.KubeletVersion = "v1.36.2"
	n.Status.NodeInfo.ContainerRuntimeVersion = runtime
	for _, edit := range edits {
		edit(n)
	}
	return n
}

func osImage(image string) func(*corev1.Node) {
	return func(n *corev1.Node) { n.Status.NodeInfo.OSImage = image }
}

func kubelet(version string) func(*corev1.Node) {
	return func(n *corev1.Node) { n.Status.NodeInfo.KubeletVersion = version }
}

func label(key, value string) func(*corev1.Node) {
	return func(n *corev1.Node) { n.Labels[key] = value }
}

func taint(key, value string) func(*corev1.Node) {
	return func(n *corev1.Node) {
		n.Spec.Taints = append(n.Spec.Taints, corev1.Taint{Key: key, Value: value, Effect: corev1.TaintEffectNoSchedule})
	}
}

// The API server refuses an incomplete class unless a rule of the CRD has its name among the built-in ones.
func TestTheRulesOfTheAPIKnowEveryBuiltInClass(t *testing.T) {
	var text string
	for _, file := range []string{"nodeclass_types.go", "spec_types.go"} {
		part, err := os.ReadFile("../../../api/v1alpha1/" + file)
		if err != nil {
			t.Fatal(err)
		}
		text += strings.ReplaceAll(string(part), "\n\t// ", " ")
	}
	all, byRuntime := sets.New[string](), map[v1alpha1.Runtime]sets.Set[string]{contract.RuntimeContainerd: sets.New[string](), contract.RuntimeCRIO: sets.New[string]()}
	for _, rule := range builtins() {
		all.Insert(rule.class.Name)
		byRuntime[rule.class.Runtime].Insert(rule.class.Name)
	}
	named := func(expression string, splitAt *regexp.Regexp) sets.Set[string] {
		found := regexp.MustCompile(expression).FindStringSubmatch(text)
		if found == nil {
			t.Fatalf("the API's rules have nothing like %s", expression)
		}
		return sets.New(splitAt.Split(found[1], -1)...)
	}
	quoted, spoken := regexp.MustCompile(`'?, '?`), regexp.MustCompile(`, | and `)
	for what, pair := range map[string][2]sets.Set[string]{
		"complete without settings": {named(`"self\.name in \['([^\]]*)'\]`, quoted), all},
		"of containerd":             {named(`\(self\.name in \['([^\]]*)'\]\) \|\| self\.match\.runtime == 'containerd'`, quoted), byRuntime[contract.RuntimeContainerd]},
		"of CRI-O":                  {named(`\(self\.name in \['([^\]]*)'\]\) \|\| self\.match\.runtime == 'cri-o'`, quoted), byRuntime[contract.RuntimeCRIO]},
		"in the field's comment":    {named(`The built-in classes are ([^.]*)\.`, spoken), all},
		"in the message":            {named(`the built-in classes are ([^"]*)"`, spoken), all},
	} {
		if !pair[0].Equal(pair[1]) {
			t.Errorf("classes %s: the API has %v, the table %v", what, sets.List(pair[0]), sets.List(pair[1]))
		}
	}
}

// Other values of the same keys are those of machines.
func TestMachinesAreNotTakenForVirtualNodes(t *testing.T) {
	for name, edit := range map[string]func(*corev1.Node){
		"EKS Auto Mode":   label("eks.amazonaws.com/compute-type", "auto"),
		"EKS hybrid node": label("eks.amazonaws.com/compute-type", "hybrid"),
		"a label type":    label("type", "worker"),
		"an instance":     label("node.kubernetes.io/instance-type", "m5.large"),
		"another taint":   taint("dedicated", "fargate"),
		"a taint of Auto": taint("eks.amazonaws.com/compute-type", "auto"),
	} {
		if got, err := NewTable(nil).Class(node("containerd://2.1.4", edit)); err != nil || got.Name != Containerd {
			t.Errorf("%s: class %q, error %v", name, got.Name, err)
		}
	}
}

func TestTheSELinuxPolicyFollowsTheOperatingSystem(t *testing.T) {
	for image, want := range map[string]SELinuxPolicy{
		"Bottlerocket OS 1.40.0 (aws-k8s-1.33)":              PolicyOwn,
		"Bottlerocket (EKS Auto, Standard) 2025.9.1":         PolicyOwn,
		"Talos (v1.12.1)":                                    PolicyOwn,
		"Fedora Linux 43":                                    PolicyCommon,
		"Flatcar Container Linux by Kinvolk 4230.2.3 (Oklo)": PolicyCommon,
		"":        PolicyUnknown,
		"Unknown": PolicyUnknown,
	} {
		if got := PolicyOf(node("containerd://2.1.4", osImage(image))); got != want {
			t.Errorf("%q: %q, want %q", image, got, want)
		}
	}
	added := func(image string) Class {
		return NewTable([]v1alpha1.NodeClass{{Name: "gpu", MountMode: "Nsenter", RuntimeEndpoint: "unix:///run/containerd/containerd.sock",
			Match: &v1alpha1.NodeMatch{Runtime: "containerd", OSImageContains: image}}}).mustLookup(t, "gpu")
	}
	for image, want := range map[string]SELinuxPolicy{"": PolicyCommon, "Bottlerocket": PolicyOwn, "Bottlerocket OS 1.40": PolicyOwn, "Talos": PolicyOwn, "Fedora": PolicyCommon} {
		if got := added(image).Policy; got != want {
			t.Errorf("a class for %q has policy %q, want %q", image, got, want)
		}
	}
	for name, test := range map[string]struct {
		nodes        sets.Set[SELinuxPolicy]
		before, want SELinuxPolicy
	}{
		"no node tells":                      {sets.New(PolicyUnknown), PolicyUnknown, PolicyCommon},
		"no node tells any longer":           {sets.New(PolicyUnknown), PolicyOwn, PolicyOwn},
		"one of them":                        {sets.New(PolicyUnknown, PolicyCommon, PolicyOwn), PolicyCommon, PolicyOwn},
		"nodes of the kind":                  {sets.New(PolicyCommon), PolicyUnknown, PolicyCommon},
		"nodes of another kind than earlier": {sets.New(PolicyCommon), PolicyOwn, PolicyCommon},
	} {
		if got := added("").On(test.nodes, test.before).Policy; got != test.want {
			t.Errorf("%s: policy %q, want %q", name, got, test.want)
		}
	}
	if got := NewTable(nil).mustLookup(t, Bottlerocket).On(sets.New(PolicyUnknown), PolicyUnknown).Policy; got != PolicyOwn {
		t.Errorf("Bottlerocket that does not tell its name has policy %q", got)
	}
}

func TestNodesFindTheirBuiltInClass(t *testing.T) {
	none := v1alpha1.ContainerConfinement{}
	tests := map[string]struct {
		node *corev1.Node
		want Class
	}{
		"kubeadm with containerd": {node("containerd://2.1.4"), Class{"containerd", "containerd", "Nsenter",
			"unix:///run/containerd/containerd.sock", "/var/lib/kubelet", "/var/lib/containerd", "", "", PolicyCommon, none}},
		"Bottlerocket": {node("containerd://1.7.27+bottlerocket", osImage("Bottlerocket OS 1.40.0 (aws-k8s-1.33)")),
			Class{"bottlerocket", "containerd", "Nsenter",
				"unix:///run/containerd/containerd.sock", "/var/lib/kubelet", "/var/lib/containerd", "", "", PolicyOwn, none}},
		"k3s": {node("containerd://2.1.4-k3s1", kubelet("v1.34.1+k3s1")), Class{"k3s", "containerd", "Nsenter",
			"unix:///run/k3s/containerd/containerd.sock", "/var/lib/kubelet", "/var/lib/rancher/k3s/agent/containerd", "", "", PolicyCommon, none}},
		"k3s whose containerd is of a branch": {node("containerd://2.0.5-k3s1.32", kubelet("v1.32.5+k3s1")), NewTable(nil).mustLookup(t, K3s)},
		"k3s that hides its kubelet's name":   {node("containerd://2.1.4-k3s1"), NewTable(nil).mustLookup(t, K3s)},
		"k3s with a containerd of its own":    {node("containerd://2.1.4", kubelet("v1.34.1+k3s1")), NewTable(nil).mustLookup(t, Containerd)},
		"k3s on Flatcar with Flatcar's containerd": {node("containerd://2.0.4", kubelet("v1.34.1+k3s1"),
			osImage("Flatcar Container Linux by Kinvolk 4230.2.3 (Oklo)")), NewTable(nil).mustLookup(t, Flatcar)},
		"k3s with CRI-O": {node("cri-o://1.34.0", kubelet("v1.34.1+k3s1")), NewTable(nil).mustLookup(t, CRIO)},
		"RKE2": {node("containerd://2.1.4-k3s2", kubelet("v1.34.1+rke2r1")), Class{"rke2", "containerd", "Nsenter",
			"unix:///run/k3s/containerd/containerd.sock", "/var/lib/kubelet", "/var/lib/rancher/rke2/agent/containerd", "", "", PolicyCommon, none}},
		"RKE2 with a containerd of its own": {node("containerd://2.1.4", kubelet("v1.34.1+rke2r1")), NewTable(nil).mustLookup(t, Containerd)},
		"k0s": {node("containerd://1.7.27", kubelet("v1.33.2+k0s")), Class{"k0s", "containerd", "Nsenter",
			"unix:///run/k0s/containerd.sock", "/var/lib/k0s/kubelet", "/var/lib/k0s/containerd", "", "", PolicyCommon, none}},
		"k0s with Ubuntu's containerd": {node("containerd://1.7.27-0ubuntu1~22.04.1", kubelet("v1.33.2+k0s")), NewTable(nil).mustLookup(t, Containerd)},
		"k0s of a release candidate":   {node("containerd://2.1.0-rc.1", kubelet("v1.33.2+k0s")), NewTable(nil).mustLookup(t, K0s)},
		"Talos": {node("containerd://2.1.4", osImage("Talos (v1.12.1)")), Class{"talos", "containerd", "Nsenter",
			"unix:///run/containerd/containerd.sock", "/var/lib/kubelet", "/var/lib/containerd", "", "", PolicyOwn, none}},
		"Flatcar": {node("containerd://2.0.4", osImage("Flatcar Container Linux by Kinvolk 4230.2.3 (Oklo)")),
			Class{"flatcar", "containerd", "Nsenter", "unix:///run/containerd/containerd.sock", "/var/lib/kubelet",
				"/var/lib/containerd", "", "", PolicyCommon, none}},
		"k3s on Flatcar": {node("containerd://2.1.4-k3s1", osImage("Flatcar Container Linux by Kinvolk 4230.2.3 (Oklo)"),
			kubelet("v1.33.5+k3s1")), NewTable(nil).mustLookup(t, K3s)},
		"GKE": {node("containerd://2.0.6", osImage("Container-Optimized OS from Google"), kubelet("v1.33.5-gke.1080000")),
			Class{"cos", "containerd", "Nsenter", "unix:///run/containerd/containerd.sock", "/var/lib/kubelet",
				"/var/lib/containerd", "", "", PolicyCommon, none}},
		"MicroK8s": {node("containerd://1.6.36", label("microk8s.io/cluster", "true")), Class{"microk8s", "containerd",
			"Nsenter", "unix:///var/snap/microk8s/common/run/containerd.sock",
			"/var/snap/microk8s/common/var/lib/kubelet", "/var/snap/microk8s/common/var/lib/containerd", "", "", PolicyCommon, none}},
		"CRI-O": {node("cri-o://1.36.3"), Class{"crio", "cri-o", "Bidirectional", "unix:///run/crio/crio.sock",
			"/var/lib/kubelet", "/var/lib/containers/storage", "/run/containers/storage", "", PolicyCommon, none}},
		"OpenShift by label": {node("cri-o://1.34.0", label("node.openshift.io/os_id", "rhel")), Class{"openshift", "cri-o",
			"Bidirectional", "unix:///run/crio/crio.sock", "/var/lib/kubelet", "/var/lib/containers/storage", "/run/containers/storage", "", PolicyCommon, none}},
		"OpenShift by OS image": {node("cri-o://1.34.0", osImage("Red Hat Enterprise Linux CoreOS 9.6.20250826-1 (Plow)")),
			Class{"openshift", "cri-o", "Bidirectional", "unix:///run/crio/crio.sock", "/var/lib/kubelet",
				"/var/lib/containers/storage", "/run/containers/storage", "", PolicyCommon, none}},
		"the oldest CRI-O":    {node("cri-o://1.21.0"), NewTable(nil).mustLookup(t, CRIO)},
		"CRI-O in the making": {node("cri-o://1.37.0-dev"), NewTable(nil).mustLookup(t, CRIO)},
		"a release candidate": {node("containerd://v2.3.0-rc.1"), NewTable(nil).mustLookup(t, Containerd)},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := NewTable(nil).Class(test.node)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Error("class (-want +got):\n" + diff)
			}
		})
	}
}

func (t Table) mustLookup(tb testing.TB, name string) Class {
	tb.Helper()
	class, found := t.Lookup(name)
	if !found {
		tb.Fatalf("no class %q", name)
	}
	return class
}

func TestUnsupportedNodesTellWhyAndWhatToDo(t *testing.T) {
	tests := map[string]struct {
		node   *corev1.Node
		reason v1alpha1.ProblemReason
		word   string
	}{
		"docker":             {node("docker://28.1.1"), v1alpha1.ProblemRuntimeUnsupported, "docker"},
		"an unknown runtime": {node("youki://1.0"), v1alpha1.ProblemRuntimeUnsupported, "youki"},
		"Windows": {node("containerd://2.1.4", func(n *corev1.Node) { n.Status.NodeInfo.OperatingSystem = "windows" }),
			v1alpha1.ProblemOSUnsupported, "windows"},
		"a virtual node that says Linux": {node("", func(n *corev1.Node) { n.Status.NodeInfo.OperatingSystem = "Linux" }),
			v1alpha1.ProblemRuntimeUnknown, "container runtime"},
		"AWS Fargate by its label": {node("containerd://1.7.27", label("eks.amazonaws.com/compute-type", "fargate")),
			v1alpha1.ProblemNoDaemonSets, "AWS Fargate"},
		"AWS Fargate by its taint": {node("containerd://1.7.27", taint("eks.amazonaws.com/compute-type", "fargate")),
			v1alpha1.ProblemNoDaemonSets, "AWS Fargate"},
		"an AKS virtual node": {node("", label("type", "virtual-kubelet"), func(n *corev1.Node) { n.Status.NodeInfo.OperatingSystem = "Linux" }),
			v1alpha1.ProblemNoDaemonSets, "type=virtual-kubelet"},
		"a virtual kubelet by its taint": {node("containerd://1.7.27", taint("virtual-kubelet.io/provider", "azure")),
			v1alpha1.ProblemNoDaemonSets, "virtual-kubelet.io/provider=azure"},
		"a virtual Windows node": {node("", label("type", "virtual-kubelet"), func(n *corev1.Node) { n.Status.NodeInfo.OperatingSystem = "Windows" }),
			v1alpha1.ProblemNoDaemonSets, "virtual kubelet"},
		"Liqo":                         {node("containerd://1.7.27", label("liqo.io/type", "virtual-node")), v1alpha1.ProblemNoDaemonSets, "Liqo"},
		"Alibaba Cloud":                {node("containerd://1.7.27", taint("k8s.aliyun.com/vnode", "true")), v1alpha1.ProblemNoDaemonSets, "Alibaba"},
		"Tencent Cloud":                {node("containerd://1.7.27", taint("eks.tke.cloud.tencent.com/eklet", "")), v1alpha1.ProblemNoDaemonSets, "Tencent"},
		"Oracle":                       {node("containerd://1.7.27", label("node-role.kubernetes.io/virtual-node", "")), v1alpha1.ProblemNoDaemonSets, "Oracle"},
		"an old containerd":            {node("containerd://1.5.18"), v1alpha1.ProblemRuntimeTooOld, "1.5.18"},
		"an old CRI-O":                 {node("cri-o://1.20.9"), v1alpha1.ProblemRuntimeTooOld, "1.20.9"},
		"a CRI-O without version":      {node("cri-o://"), v1alpha1.ProblemRuntimeUnknown, "version"},
		"a containerd without version": {node("containerd://"), v1alpha1.ProblemRuntimeUnknown, "version"},
		"a containerd built by hand":   {node("containerd://unknown"), v1alpha1.ProblemRuntimeUnknown, "unknown"},
		"an empty version":             {node(""), v1alpha1.ProblemRuntimeUnknown, "containerRuntimeVersion"},
		"a version of another form":    {node("containerd 2.1.4"), v1alpha1.ProblemRuntimeUnknown, "containerd 2.1.4"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := NewTable(nil).Class(test.node)
			var unsupported *Unsupported
			if !errors.As(err, &unsupported) {
				t.Fatalf("error %v is no *Unsupported", err)
			}
			if unsupported.Reason != test.reason {
				t.Errorf("reason %s, want %s", unsupported.Reason, test.reason)
			}
			if !strings.Contains(unsupported.Message, test.word) {
				t.Errorf("message %q does not tell %q", unsupported.Message, test.word)
			}
			if unsupported.Remedy == "" {
				t.Error("no remedy")
			}
		})
	}
}

// What the kubelet cannot find out for a moment is no proof of anything.
func TestNotKnowingKeepsTheClassThatANodeHas(t *testing.T) {
	has := func(class string) func(*corev1.Node) { return label(contract.NodeClassLabel, class) }
	table := NewTable([]v1alpha1.NodeClass{{
		Name: "pool", MountMode: "Nsenter", RuntimeEndpoint: "unix:///run/vendor/containerd.sock",
		Match: &v1alpha1.NodeMatch{Runtime: "containerd", KubeletVersionContains: "-vendor", NodeLabels: map[string]v1alpha1.LabelValue{"pool": "a"}},
	}})
	const unknown, unsupported = "unknown", "unsupported"
	for name, test := range map[string]struct {
		node *corev1.Node
		want string
	}{
		"containerd does not answer":            {node("containerd://Unknown", has("containerd")), unknown},
		"containerd tells an empty version":     {node("containerd://", has("containerd")), unknown},
		"containerd tells what is no version":   {node("containerd://main", has("containerd")), unknown},
		"CRI-O does not answer":                 {node("cri-o://Unknown", has("openshift")), unknown},
		"k3s' containerd does not answer":       {node("containerd://Unknown", has("k3s")), unknown},
		"the status is empty":                   {&corev1.Node{ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{contract.NodeClassLabel: "crio"}}}, unknown},
		"the version has no form":               {node("containerd", has("containerd")), unknown},
		"the version is endless":                {node("containerd://"+strings.Repeat("1", 500), has("containerd")), unknown},
		"a class that the table has lost":       {node("containerd://Unknown", has("gone")), unknown},
		"the runtime's name is not known":       {node("Unknown://Unknown", has("containerd")), unknown},
		"a build that knows no version":         {node("containerd://0.0.0+unknown", has("containerd")), unknown},
		"no class yet":                          {node("containerd://Unknown"), unsupported},
		"another runtime that does not answer":  {node("cri-o://Unknown", has("containerd")), unsupported},
		"Docker":                                {node("docker://Unknown", has("containerd")), unsupported},
		"too old":                               {node("containerd://1.5.18", has("containerd")), unsupported},
		"Windows":                               {node("containerd://Unknown", has("containerd"), func(n *corev1.Node) { n.Status.NodeInfo.OperatingSystem = "windows" }), unsupported},
		"the OS image is not told":              {node("containerd://1.7.27", has(Bottlerocket), osImage("")), Bottlerocket},
		"the OS image is Unknown":               {node("containerd://1.7.27", has(Talos), osImage("Unknown")), Talos},
		"the OS image is told":                  {node("containerd://1.7.27", has(Bottlerocket)), Containerd},
		"the OS image of a node without class":  {node("containerd://1.7.27", osImage("")), Containerd},
		"the OS image of a plain node":          {node("containerd://1.7.27", has(Containerd), osImage("")), Containerd},
		"the kubelet's version is not told":     {node("containerd://1.7.27", has(K0s), kubelet("")), K0s},
		"the kubelet's version is told":         {node("containerd://1.7.27", has(K0s)), Containerd},
		"MicroK8s' mark is lost":                {node("containerd://1.6.36", has(MicroK8s)), MicroK8s},
		"MicroK8s' mark, another runtime":       {node("cri-o://1.36.3", has(MicroK8s)), CRIO},
		"OpenShift's mark is lost":              {node("cri-o://1.34.0", has(OpenShift), osImage("CentOS Stream CoreOS 9")), OpenShift},
		"no mark, another class":                {node("cri-o://1.34.0", has(CRIO), osImage("CentOS Stream CoreOS 9")), CRIO},
		"an administrator took the label away":  {node("containerd://1.7.27", has("pool"), kubelet("v1.36.2-vendor")), Containerd},
		"an added class, and a silent kubelet":  {node("containerd://1.7.27", has("pool"), label("pool", "a"), kubelet("")), "pool"},
		"a runtime of another class is another": {node("cri-o://1.36.3", has(Containerd)), CRIO},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := table.Class(test.node)
			is := got.Name
			if errors.As(err, new(*Unknown)) {
				is = unknown
			} else if errors.As(err, new(*Unsupported)) {
				is = unsupported
			}
			if is != test.want {
				t.Errorf("%s (error %v), want %s", is, err, test.want)
			}
		})
	}
}

func TestAnAddedClassComesBeforeTheBuiltInOnes(t *testing.T) {
	table := NewTable([]v1alpha1.NodeClass{{
		Name: "fedora", MountMode: "Nsenter", RuntimeEndpoint: "unix:///run/docker/libcontainerd/containerd.sock",
		Match: &v1alpha1.NodeMatch{Runtime: "containerd", OSImageContains: "Fedora",
			NodeLabels: map[string]v1alpha1.LabelValue{"pool": "a"}},
	}})
	fedora := osImage("Fedora CoreOS 43")

	got, err := table.Class(node("containerd://2.0.4", fedora, label("pool", "a")))
	want := Class{"fedora", "containerd", "Nsenter", "unix:///run/docker/libcontainerd/containerd.sock",
		"/var/lib/kubelet", "/var/lib/containerd", "", "", PolicyCommon, v1alpha1.ContainerConfinement{}}
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("error %v, class (-want +got):\n%s", err, diff)
	}
	if got, err := table.Class(node("containerd://2.0.4", fedora)); err != nil || got.Name != Containerd {
		t.Errorf("a node without the label is in class %q (%v), want containerd", got.Name, err)
	}
}

func TestAnAddedClassMatchesTheRuntimesVersion(t *testing.T) {
	table := NewTable([]v1alpha1.NodeClass{{
		Name: "vendor", MountMode: "Nsenter", RuntimeEndpoint: "unix:///run/vendor/containerd.sock",
		Match: &v1alpha1.NodeMatch{Runtime: "containerd", RuntimeVersionContains: "-vendor"},
	}})
	for runtime, want := range map[string]string{"containerd://2.1.4-vendor1": "vendor", "containerd://2.1.4": Containerd, "cri-o://1.36.0-vendor1": CRIO} {
		if got, err := table.Class(node(runtime)); err != nil || got.Name != want {
			t.Errorf("%s is in class %q (%v), want %q", runtime, got.Name, err, want)
		}
	}
}

func TestAnOverrideKeepsWhatItDoesNotSet(t *testing.T) {
	table := NewTable([]v1alpha1.NodeClass{{Name: CRIO, KubeletRoot: "/data/kubelet", StorageRoot: "/data/storage", RunRoot: "/data/run", Network: v1alpha1.NetworkHost}})
	got, err := table.Class(node("cri-o://1.36.3"))
	want := Class{"crio", "cri-o", "Bidirectional", "unix:///run/crio/crio.sock",
		"/data/kubelet", "/data/storage", "/data/run", v1alpha1.NetworkHost, PolicyCommon, v1alpha1.ContainerConfinement{}}
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("error %v, class (-want +got):\n%s", err, diff)
	}
}

func TestACRIOClassMayMountInTheHostsNamespace(t *testing.T) {
	table := NewTable([]v1alpha1.NodeClass{
		{Name: OpenShift, MountMode: "Nsenter"},
		{Name: "pool", MountMode: "Nsenter", RuntimeEndpoint: "unix:///run/crio/crio.sock",
			Match: &v1alpha1.NodeMatch{Runtime: "cri-o", NodeLabels: map[string]v1alpha1.LabelValue{"pool": "a"}}},
	})
	for name, want := range map[string]v1alpha1.MountMode{OpenShift: "Nsenter", "pool": "Nsenter", CRIO: "Bidirectional"} {
		got := table.mustLookup(t, name)
		if got.MountMode != want || got.StorageRoot != containersStorage || got.RunRoot != containersStorageRun || got.Policy != PolicyCommon {
			t.Errorf("class %s: %+v, want mode %s", name, got, want)
		}
	}
}

func TestANarrowedClassLeavesTheOthersUnsupported(t *testing.T) {
	table := NewTable([]v1alpha1.NodeClass{{Name: Containerd,
		Match: &v1alpha1.NodeMatch{Runtime: "containerd", KubeletVersionContains: "v1.36"}}})
	_, err := table.Class(node("containerd://2.1.4", kubelet("v1.30.1")))
	var unsupported *Unsupported
	if !errors.As(err, &unsupported) || !strings.Contains(unsupported.Message, "no node class matches") {
		t.Errorf("error %v does not say that no class matches", err)
	}
}

func TestHasLabelsWantsEveryLabelWithItsValue(t *testing.T) {
	have := map[string]string{"pool": "a", "empty": ""}
	for name, test := range map[string]struct {
		want map[string]v1alpha1.LabelValue
		has  bool
	}{
		"none wanted":             {nil, true},
		"one of them":             {map[string]v1alpha1.LabelValue{"pool": "a"}, true},
		"all of them":             {map[string]v1alpha1.LabelValue{"pool": "a", "empty": ""}, true},
		"another value":           {map[string]v1alpha1.LabelValue{"pool": "b"}, false},
		"no such label":           {map[string]v1alpha1.LabelValue{"pool": "a", "zone": "x"}, false},
		"no such label, no value": {map[string]v1alpha1.LabelValue{"zone": ""}, false},
	} {
		if got := HasLabels(have, test.want); got != test.has {
			t.Errorf("%s: %v, want %v", name, got, test.has)
		}
	}
}

func TestRuntimeDirIsTheSocketsDirectory(t *testing.T) {
	if got := NewTable(nil).mustLookup(t, K0s).RuntimeDir(); got != "/run/k0s" {
		t.Errorf("RuntimeDir() = %q", got)
	}
}

// The CRD's rules list the built-in classes by name; this keeps the list and the table together.
func TestTheTableHasTheClassesThatTheAPINames(t *testing.T) {
	want := []string{"openshift", "crio", "bottlerocket", "rke2", "k3s", "k0s", "microk8s", "talos", "flatcar", "cos", "containerd"}
	if diff := cmp.Diff(want, Names()); diff != "" {
		t.Error("built-in classes (-want +got):\n" + diff)
	}
}
