// Package pluginpod reads from a node plugin's pod which node it is for, whether it is ready, and its problem if it has one.
package pluginpod
