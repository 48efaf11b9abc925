// Package dashboard scrapes real processes as Prometheus does, and asks of what they say what the panels of config/dashboard ask.
package dashboard
