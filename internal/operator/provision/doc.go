// Package provision turns a PersistentVolumeClaim that names an image into the PersistentVolume that shows it.
package provision
