// Package quantity parses amounts of bytes that users write, at a cost that does not grow with the value.
//
// They are what Kubernetes' own library (k8s.io/apimachinery/pkg/api/resource) reads, to which the tests compare it. The library has no
// bound on the cost, and brings CBOR, JSON and a logger into the node plugin: half a megabyte of memory on every node.
package quantity
