// Package rules asks of each rule of config/admission whether a test holds it: it takes the rule away and wants a test to fail.
package rules
