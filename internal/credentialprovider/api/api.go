// Package api is the protocol between the node plugin and the credential providers' container: one JSON question and one
// JSON answer over HTTP on a unix socket.
package api

// Path is where a Question is posted.
const Path = "/v1/credentials"

const (
	// MaxQuestionBytes bounds a Question; service account tokens are a few kilobytes each.
	MaxQuestionBytes = 256 << 10

	// MaxAnswerBytes bounds an Answer.
	MaxAnswerBytes = 1 << 20
)

// Question asks for the credentials of an image.
type Question struct {
	// Image is the name without tag and digest, as the kubelet passes it to a provider: host/repository.
	Image string `json:"image"`

	// Tokens are the pod's service account tokens by audience.
	Tokens map[string]string `json:"tokens,omitempty"`

	// ServiceAccount identifies the account: namespace/name/uid. Empty without tokens.
	ServiceAccount string `json:"serviceAccount,omitempty"`
}

// Answer holds what the providers gave.
type Answer struct {
	// Auths match the image, the best first.
	Auths []Auth `json:"auths,omitempty"`

	// Problems are sentences for users about providers that failed. They contain no secrets.
	Problems []string `json:"problems,omitempty"`
}

// Auth is a user of a registry.
type Auth struct {
	Username string `json:"username"`
	Password string `json:"password"`
}
