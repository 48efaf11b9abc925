// Package admission tries the admission policies of config/admission by themselves, and on an API server that has nothing
// else of the installation.
package admission
