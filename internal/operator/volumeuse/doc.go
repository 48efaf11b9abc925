// Package volumeuse finds the pods that use a driver's volumes, inline or through a PersistentVolume.
package volumeuse
