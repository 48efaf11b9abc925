// Package credentials finds the registry credentials for a volume's image in the secrets of the volume and of the driver.
package credentials
