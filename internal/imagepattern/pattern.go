package imagepattern

import (
	"errors"
	"net"
	"net/url"
	"path"
	"strings"
)

// maxBytes bounds a pattern before it is parsed. A host has 255 bytes, and a repository as many.
const maxBytes = 1024

// Pattern is an entry of matchImages, or the key of a credential, or the name of an image without tag and digest.
type Pattern struct {
	parts []string
	port  string
	path  string // "" or "/…"
}

// Parse reads a pattern. Keys may have a scheme, as in a Docker configuration. Errors repeat nothing that may be secret.
func Parse(text string) (Pattern, error) {
	if len(text) > maxBytes {
		return Pattern{}, errors.New("it is too long")
	}
	text = strings.TrimSpace(text)
	if _, rest, ok := strings.Cut(text, "://"); ok {
		text = rest
	}
	parsed, err := url.Parse("https://" + text)
	if err != nil {
		return Pattern{}, err
	}
	host, port, err := net.SplitHostPort(parsed.Host)
	if err != nil {
		host, port = parsed.Host, ""
	}
	host = strings.ToLower(host)
	if host == "index.docker.io" || host == "registry-1.docker.io" {
		host = "docker.io" // as image references spell it
	}
	p := Pattern{parts: strings.Split(host, "."), port: port, path: parsed.Path}
	for _, part := range p.parts {
		if _, err := path.Match(part, ""); err != nil {
			return Pattern{}, err
		}
	}
	return p, nil
}

// Covers reports whether the kubelet would match an image to this entry of matchImages: the host has as many parts and each
// matches, the port is the same, and the path is a prefix of the image's.
func (p Pattern) Covers(image Pattern) bool {
	return p.host(image) && strings.HasPrefix(image.path, p.path)
}

// Opens is Covers for the key of a credential. A path ends at the end of a name here, so that a credential for
// registry.example/team is not sent for registry.example/team2.
func (p Pattern) Opens(image Pattern) bool {
	own := p.Repository()
	return p.host(image) && (own == "" || image.path == own || strings.HasPrefix(image.path, own+"/"))
}

func (p Pattern) host(image Pattern) bool {
	if p.port != image.port || len(p.parts) != len(image.parts) {
		return false
	}
	for i, part := range p.parts {
		if ok, err := path.Match(part, image.parts[i]); !ok || err != nil {
			return false
		}
	}
	return true
}

// Repository returns the path without the prefix of the registry's API and without a slash at its end.
func (p Pattern) Repository() string {
	for _, version := range []string{"/v1", "/v2"} {
		if rest, ok := strings.CutPrefix(p.path+"/", version+"/"); ok {
			return strings.TrimRight("/"+rest, "/")
		}
	}
	return strings.TrimRight(p.path, "/")
}

// Globs reports whether the host has any.
func (p Pattern) Globs() bool {
	return strings.ContainsAny(strings.Join(p.parts, ""), `*?[\`)
}

// Compare returns a negative number where a pattern takes precedence over another, for images that both match: a longer path
// does, and then a host without globs.
func (p Pattern) Compare(than Pattern) int {
	if longer := len(than.Repository()) - len(p.Repository()); longer != 0 {
		return longer
	}
	return p.rank() - than.rank()
}

func (p Pattern) rank() int {
	if p.Globs() {
		return 1
	}
	return 0
}

// Empty reports whether a pattern names no host.
func (p Pattern) Empty() bool { return len(p.parts) == 0 || (len(p.parts) == 1 && p.parts[0] == "") }
