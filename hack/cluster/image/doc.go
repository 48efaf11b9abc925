// Package image assembles container images in process, from files, with no builder and no daemon.
package image
