// Package nodeconfig renders what a node is configured with: the files below /etc and the daemons to run. It is pure:
// it reads and writes nothing.
package nodeconfig
