// Package doctor checks a cluster for what keeps image volumes from working: before an installation, and afterwards.
package doctor
