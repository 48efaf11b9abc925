// Package recent caches an answer for a few seconds, so that the cost on a node does not grow with the number of requests.
package recent
