// Package hardening has every object of the project judged by the scanners of others, and holds what they find to lists of exceptions,
// each with its reason.
package hardening
