// Package pluginpod reads from a node plugin's pod which node it is for and how it fares.
package pluginpod
