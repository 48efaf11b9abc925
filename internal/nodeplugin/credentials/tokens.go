package credentials

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"strings"

	"github.com/image-csi/image-csi-operator/internal/contract"
)

// maxTokensBytes bounds the kubelet's tokens; each has a few kilobytes.
const maxTokensBytes = 128 << 10

// Tokens are a pod's service account tokens by audience.
type Tokens map[string]string

// SplitTokens returns the kubelet's tokens from a volume's secrets, and the rest, which is the user's.
func SplitTokens(secrets map[string]string) (Tokens, map[string]string, error) {
	text, ok := secrets[contract.TokensSecret]
	if !ok {
		return nil, secrets, nil
	}
	rest := maps.Clone(secrets)
	delete(rest, contract.TokensSecret)
	var byAudience map[string]struct {
		Token string `json:"token"`
	}
	// The parser's own error is left out, because it quotes what it read.
	if len(text) > maxTokensBytes || json.Unmarshal([]byte(text), &byAudience) != nil {
		return nil, nil, errors.New("the service account tokens that came with the volume cannot be read")
	}
	tokens := Tokens{}
	for audience, t := range byAudience {
		if t.Token != "" {
			tokens[audience] = t.Token
		}
	}
	return tokens, rest, nil
}

// account returns the service account of the tokens, namespace/name/uid, as their claims name it. The claims are trusted because
// only the kubelet can put tokens where SplitTokens looks. Tokens without these claims count as an account of their own. Empty
// without tokens.
func (t Tokens) account() string {
	if len(t) == 0 {
		return ""
	}
	audience := slices.Sorted(maps.Keys(t))[0]
	if account, ok := accountOf(t[audience]); ok {
		return account
	}
	sum := sha256.Sum256([]byte(t[audience]))
	return "token/" + hex.EncodeToString(sum[:])
}

// accountOf reads the claims of a service account's token (Kubernetes documentation, "Schema for service account
// private claims").
func accountOf(token string) (string, bool) {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return "", false
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return "", false
	}
	var claims struct {
		Kubernetes struct {
			Namespace      string `json:"namespace"`
			ServiceAccount struct {
				Name string `json:"name"`
				UID  string `json:"uid"`
			} `json:"serviceaccount"`
		} `json:"kubernetes.io"`
	}
	if err := json.Unmarshal(payload, &claims); err != nil {
		return "", false
	}
	k := claims.Kubernetes
	if k.Namespace == "" || k.ServiceAccount.Name == "" || k.ServiceAccount.UID == "" {
		return "", false
	}
	return k.Namespace + "/" + k.ServiceAccount.Name + "/" + k.ServiceAccount.UID, true
}
