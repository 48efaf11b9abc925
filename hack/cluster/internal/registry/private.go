package registry

import (
	"net/http"
	"strings"
)

// privatePrefix is what the names of private repositories start with: private/USER/… is USER's alone.
const privatePrefix = "private/"

// challenge asks for a user name and a password (RFC 7617).
const challenge = `Basic realm="private repositories"`

// Password is the password of a user of the private repositories. Every name is a user: the registry is a test's.
func Password(user string) string { return "password-of-" + user }

// Owner returns the user to whom a repository belongs; "" if it is public.
func Owner(repository string) string {
	rest, private := strings.CutPrefix(repository, privatePrefix)
	if !private {
		return ""
	}
	user, _, _ := strings.Cut(rest, "/")
	return user
}

// guard lets only their owners into private repositories.
func guard(inner http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/v2/" {
			// CRI-O learns here, and only here, how to authenticate.
			w.Header().Set("WWW-Authenticate", challenge)
		}
		owner := Owner(strings.TrimPrefix(r.URL.Path, "/v2/"))
		if user, password, _ := r.BasicAuth(); owner != "" && (user != owner || password != Password(owner)) {
			w.Header().Set("WWW-Authenticate", challenge)
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(http.StatusUnauthorized)
			_, _ = w.Write([]byte(`{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}`))
			return
		}
		inner.ServeHTTP(w, r)
	})
}
