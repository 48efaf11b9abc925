// Package imagerules checks images against the rules of the driver's administrator, in a file that may change at any time.
package imagerules
