// Package writing takes the steps of a handover from the legacy driver in a cluster, each by one request to the API server.
package writing
