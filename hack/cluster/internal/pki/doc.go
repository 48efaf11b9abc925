// Package pki is a cluster's certificate authority and the certificates and kubeconfigs that it gives out.
package pki
