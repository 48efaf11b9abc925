// Package ownership reads the API server's record of who owns which fields of an object (metadata.managedFields), and answers by
// it whether the server holds what the operator wants.
package ownership
