// Package imagerules reports whether the driver's administrator lets an image be a volume, by a file that may change
// at any time.
package imagerules
