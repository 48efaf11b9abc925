// Package grace holds since when things have been out of use, so that each is released only after a grace period.
package grace
