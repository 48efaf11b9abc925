// Command image makes a release: the operator's image for every architecture as an OCI layout, with an inventory of what is linked into
// it, and the manifests that name the image by its digest. A second run from the same sources gives the same digest, wherever the
// checkout lies. It needs the Go toolchain and make, and no container engine; "image push" copies a release into a registry.
package main
