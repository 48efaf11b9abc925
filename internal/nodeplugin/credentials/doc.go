// Package credentials finds, in the secret of a volume and in those of the driver, the registry credentials that belong
// to the volume's image.
package credentials
