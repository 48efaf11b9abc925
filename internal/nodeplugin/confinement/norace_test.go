//go:build !race

package confinement

const race = false
