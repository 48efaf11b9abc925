// Package imagepattern matches names of images with the patterns of Docker configurations and of the kubelet's credential
// providers: a host, in which each part between dots may hold globs, with an optional port and path
// (https://kubernetes.io/docs/concepts/containers/images/#config-json).
package imagepattern
