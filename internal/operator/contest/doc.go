// Package contest decides how soon a field that somebody else changes again and again is put back.
package contest
