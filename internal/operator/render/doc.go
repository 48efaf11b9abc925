// Package render turns a driver and the node classes that have nodes into the objects to apply and the objects to
// delete. It is pure: the same input gives the same objects.
package render
