// Package cluster runs a real Kubernetes on one Linux machine: etcd, the control plane, and any number of nodes with
// containerd or CRI-O, each a real kubelet in namespaces of its own. It needs root and Go, but no Docker, no virtual
// machine and no container registry.
//
// # Shape
//
// A cluster is a set of processes and a state directory:
//
//   - The control plane's process keeps the control plane's daemons running, serves the cluster's image registry and
//     forwards two ports of 127.0.0.1 to the API server and the registry. It lives in a network namespace with a bridge;
//     nothing else listens in the machine's own network. A cluster without a control plane has it for the registry.
//   - A node is an init process in new pid, mount, network, UTS, IPC and cgroup namespaces, whose root is an overlay over
//     the machine's. It keeps the container runtime, the kubelet and kube-proxy running. Killing it is a power cut.
//
// A cluster without nodes needs no root: the control plane then runs on 127.0.0.1 without namespaces.
//
// # One program
//
// The control plane's process, a node's init and a few smaller helpers are this very program, started again under another
// name. So every program that uses this package calls [Init] first thing in main or TestMain.
//
// # Crashes
//
// Every process is recorded before it does anything, by an identity that cannot be mistaken for another process's. [Up]
// starts what does not run and leaves alone what does, so it can be killed and run again; [Cluster.Down] finds all that
// Up ever started. Nothing has to be shut down in order: everything here survives being killed.
package cluster
