package server

import (
	"strings"
	"testing"
	"unicode"

	"github.com/distribution/reference"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// FuzzReference wants one name for what is one image: with a host, with a tag or a digest, and the same when it is
// normalised again or spelled out.
func FuzzReference(f *testing.F) {
	digest := "@sha256:" + strings.Repeat("0123456789abcdef", 4)
	for _, seed := range []string{
		"busybox", "team/app", "r.example/app:1", "localhost/app", "r.example:5000/a/b:1" + digest, "app" + digest, "docker.io/app",
		"index.docker.io/library/app:latest", "[::1]:5000/app", "Upper/Case", "http://r.example/app", "a b", strings.Repeat("a", 64), "",
		strings.Repeat("a/", 500) + "b", "app:" + strings.Repeat("1", 129), "app@sha256:0",
		"r.example/" + strings.Repeat("A", 1000), "r.example/A\nb",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, image string) {
		named, err := parseReference(image)
		if err != nil {
			if status.Code(err) != codes.InvalidArgument || (image != "" && !strings.Contains(err.Error(), "reference")) {
				t.Errorf("%q: %v", image, err)
			}
			if said := err.Error(); len(said) > maxMessage || strings.ContainsFunc(said, unicode.IsControl) {
				t.Errorf("%q: %d bytes, which an event may not show: %q", image, len(said), said)
			}
			return
		}
		_, tagged := named.(reference.Tagged)
		digested, byDigest := named.(reference.Digested)
		switch {
		case tagged == byDigest:
			t.Errorf("%q became %q, want either a tag or a digest", image, named)
		case byDigest && !strings.HasSuffix(image, "@"+digested.Digest().String()):
			t.Errorf("%q became %q, of another digest", image, named)
		}
		host, rest, _ := strings.Cut(named.String(), "/")
		if (host != "localhost" && host == strings.ToLower(host) && !strings.ContainsAny(host, ".:")) || rest == "" {
			t.Errorf("%q became %q, without a host", image, named)
		}
		same := []string{named.String()}
		if host == "docker.io" {
			same = append(same, "index."+named.String())
			// Without the host it is the same, unless what comes next can be one itself.
			if first, _, more := strings.Cut(rest, "/"); !more || (!strings.ContainsAny(first, ".:") && first != "localhost") {
				same = append(same, rest)
			}
			if short, official := strings.CutPrefix(rest, "library/"); official && !strings.Contains(short, "/") {
				same = append(same, short)
			}
		}
		for _, other := range same {
			if again, err := parseReference(other); err != nil || again.String() != named.String() {
				t.Errorf("%q became %q, which as %q becomes %v (%v)", image, named, other, again, err)
			}
		}
	})
}
