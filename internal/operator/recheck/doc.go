// Package recheck has the rule for times to wait until something is looked at again, of which 0 is never.
package recheck
