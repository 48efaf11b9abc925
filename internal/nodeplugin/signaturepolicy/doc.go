// Package signaturepolicy determines which signature policy of a CRI-O node applies to the pods of a namespace.
package signaturepolicy
