// Package served knows what the API server has that not every one has: optional kinds, newer fields, and admission policies.
package served
