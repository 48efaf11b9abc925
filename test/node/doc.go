// Package node holds the tests of the node plugin on real container runtimes: the program runs on a node without a
// kubelet, and the tests speak to its CSI socket as the kubelet would.
package node
