package main

import "runtime/debug"

// version is set by the linker only.
var version string

// buildVersion returns the linker's version, else the one that the Go command recorded.
func buildVersion() string {
	if version != "" {
		return version
	}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "unknown"
}
