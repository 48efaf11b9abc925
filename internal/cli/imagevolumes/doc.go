// Package imagevolumes finds the image volumes of pods, and what state they are in by what the API server holds.
package imagevolumes
