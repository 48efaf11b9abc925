// Package controllers reconciles ImageCSIDriver objects: it reads the cluster, lets internal/operator decide, applies
// the outcome and reports it. It holds no rules of its own.
package controllers
