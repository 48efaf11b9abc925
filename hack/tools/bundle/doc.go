// Command bundle writes the OLM bundle from what kustomize builds of config/manifests, and validates it with the
// validators of the operator framework.
package main
