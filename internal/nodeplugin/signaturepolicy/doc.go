// Package signaturepolicy finds out which signature policy of a CRI-O node counts for the pods of a namespace.
package signaturepolicy
