// Package credentialprovider runs the kubelet's credential provider programs (KEP-2133, KEP-4412) for the node plugin,
// which runs no programs itself. It lives in a container of its own, without privileges, and answers on a unix socket.
//
// See docs/decisions/0021-credential-providers.md.
package credentialprovider
