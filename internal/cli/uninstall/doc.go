// Package uninstall decides in which order an installation is removed, with the commands for the way in which it was installed. The pages
// docs/install/*.md have the same commands.
package uninstall
