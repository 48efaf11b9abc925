// Package credentials finds, in the secret of a volume, the registry credentials that belong to the volume's image.
package credentials
