// Package usage tells which pods use a volume of the driver: inline, or through a PersistentVolume.
package usage
