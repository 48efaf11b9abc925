package controllers_test

import (
	"testing"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"

	"github.com/image-csi/image-csi-operator/internal/operator/migration"
)

// The API server takes a driver that has a field of every value of the legacy driver's chart.
func TestADriverOfTheLegacyChartsValuesIsValid(t *testing.T) {
	c := newCluster(t)
	crio := corev1.Node{Status: corev1.NodeStatus{NodeInfo: corev1.NodeSystemInfo{OperatingSystem: "linux", ContainerRuntimeVersion: "cri-o://1.33.0", KubeletVersion: "v1.33.0"}}}
	for text, nodes := range map[string][]corev1.Node{
		"{}": nil,
		`{runtime: {engine: containerd, socketPath: /run/docker/containerd.sock}, kubeletRoot: /data/kubelet/, logLevel: 5, pullImageSecretForDaemonset: registry,
			imageCredentialProvider: {enabled: true, configPath: /etc/p.yaml, binDir: /opt/p/}, selinuxContext: "system_u:object_r:own_t:s0:c1,c2",
			csiPlugin: {hostNetwork: true, metricsPort: 9090, resources: {requests: {cpu: 100m, memory: 64Mi}, limits: {memory: 1Gi}}}, podMonitor: {enabled: true},
			tolerations: [{key: gpu, operator: Exists, effect: NoSchedule}, {operator: Exists}], nodeSelector: {kubernetes.io/os: linux, example.com/pool: a},
			affinity: {nodeAffinity: {requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: [{matchExpressions: [{key: arch, operator: NotIn, values: [arm]}]}]}}}}`: nil,
		"{runtime: {engine: cri-o, socketPath: /run/other/crio.sock}, crioRuntimeRoot: /data/storage, csiPlugin: {hostNetwork: true}}": {crio},
	} {
		var values map[string]any
		c.Expect(yaml.Unmarshal([]byte(text), &values)).To(Succeed())
		plan := migration.PlanOf(migration.Installation{Values: values, Nodes: nodes, DriverNames: []string{"csi-image.warm-metal.tech", "container-image.csi.k8s.io"}})
		manifest, err := plan.YAML()
		c.Expect(err).NotTo(HaveOccurred())
		c.Expect(c.create(plan.Driver.Name, string(manifest))).To(Succeed(), text)
		c.Expect(c.Delete(c.ctx, plan.Driver)).To(Succeed())
	}
}
