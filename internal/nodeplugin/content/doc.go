// Package content looks through the trees of images for files that the driver's administrator refuses: those that give a process
// rights.
package content
