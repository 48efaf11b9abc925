package cluster

import (
	"fmt"
	"net"
)

// Addresses. They are inside network namespaces, so every cluster has the same.
const (
	controlPlaneAddress = "10.89.0.1"
	networkBits         = "/24"
	serviceCIDR         = "10.96.0.0/16"
	serviceAddress      = "10.96.0.1" // of the service "kubernetes": the first of the range
	apiServerPort       = 6443
	registryPort        = 5000
)

// registryAddress is where nodes find the registry.
const registryAddress = controlPlaneAddress + ":5000"

// pauseImage is the image that holds a pod's namespaces.
const pauseImage = "imagecsi/pause:1"

// controlPlaneMember is the control plane's name among its cluster's control groups and network namespaces; no node can
// have it.
const controlPlaneMember = "cp"

// prefix starts the name of everything the kernel knows of a cluster.
const prefix = "imagecsi-"

func (s state) controlPlaneNamespace() string     { return prefix + s.Name + "-" + controlPlaneMember }
func (s state) namespace(n nodeState) string      { return prefix + s.Name + "-" + n.Name }
func (s state) group() string                     { return prefix + s.Name }
func (s state) controlGroup(member string) string { return s.group() + "/" + member }

// link is the control plane's end of the node's network cable. Link names are short, node names need not be.
func (n nodeState) link() string { return fmt.Sprintf("node%d", n.Index) }

func (n nodeState) address() string { return fmt.Sprintf("10.89.0.%d", 10+n.Index) }
func (n nodeState) podCIDR() string { return fmt.Sprintf("10.244.%d.0/24", n.Index) }

// apiServerIPs are the addresses the API server is reached by.
func apiServerIPs() []net.IP {
	return []net.IP{net.IPv4(127, 0, 0, 1), net.ParseIP(controlPlaneAddress), net.ParseIP(serviceAddress)}
}

// apiServerNames are the names it is reached by.
func apiServerNames() []string {
	return []string{"localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local"}
}

// apiServerURL is the API server as the control plane and the nodes see it.
func (s state) apiServerURL() string {
	if s.Loopback {
		return s.hostAPIServerURL()
	}
	return fmt.Sprintf("https://%s:%d", controlPlaneAddress, apiServerPort)
}

// hostAPIServerURL is the API server as this machine's programs see it.
func (s state) hostAPIServerURL() string {
	return fmt.Sprintf("https://127.0.0.1:%d", s.Ports.APIServer)
}
