// Package contest decides how soon an object that is changed from outside again and again is repaired.
package contest
