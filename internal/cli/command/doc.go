// Package command has the commands of `kubectl imagecsi`: flags, what is read for each, and exit codes. What they show is decided
// by the packages beside it.
package command
