// Package noderoot builds a node's root file system: the machine's own as the lower layer of an overlay, so that its
// programs and libraries are there, with the node's own /etc, /run, /tmp, /dev, /proc, /sys and disk on top.
package noderoot
