package credentialprovider

import (
	"net"
	"net/url"
	"path"
	"strings"
)

// pattern is an entry of matchImages or a key of a provider's answer: a host, in which each part between dots may
// hold globs, with an optional port and path.
type pattern struct {
	parts []string
	port  string
	path  string // "" or "/…"
}

// parsePattern reads a pattern. Keys of answers may be written as in a Docker configuration, with a scheme.
func parsePattern(text string) (pattern, error) {
	for _, scheme := range []string{"https://", "http://"} {
		text = strings.TrimPrefix(text, scheme)
	}
	parsed, err := url.Parse("https://" + text)
	if err != nil {
		return pattern{}, err
	}
	host, port, err := net.SplitHostPort(parsed.Host)
	if err != nil {
		host, port = parsed.Host, ""
	}
	host = strings.ToLower(host)
	if host == "index.docker.io" || host == "registry-1.docker.io" {
		host = "docker.io" // as image references spell it
	}
	p := pattern{parts: strings.Split(host, "."), port: port, path: parsed.Path}
	for _, part := range p.parts {
		if _, err := path.Match(part, ""); err != nil {
			return pattern{}, err
		}
	}
	return p, nil
}

// covers tells whether the kubelet would match an image to this entry of matchImages: as many parts in the host, each
// of which matches, the same port, and a path that begins the image's.
func (p pattern) covers(image pattern) bool {
	return p.host(image) && strings.HasPrefix(image.path, p.path)
}

// opens is covers for the key of a credential. A path ends at the end of a name here, so that a credential for
// registry.example/team is not sent for registry.example/team2.
func (p pattern) opens(image pattern) bool {
	own := p.repository()
	return p.host(image) && (own == "" || image.path == own || strings.HasPrefix(image.path, own+"/"))
}

func (p pattern) host(image pattern) bool {
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

// repository is the path without what stands for the registry's API and without a slash at its end.
func (p pattern) repository() string {
	for _, version := range []string{"/v1", "/v2"} {
		if rest, ok := strings.CutPrefix(p.path+"/", version+"/"); ok {
			return strings.TrimRight("/"+rest, "/")
		}
	}
	return strings.TrimRight(p.path, "/")
}

// globs tells whether the host has any.
func (p pattern) globs() bool {
	return strings.ContainsAny(strings.Join(p.parts, ""), `*?[\`)
}

// registry is the host and port of an image's name.
func registry(image string) string {
	host, _, _ := strings.Cut(image, "/")
	return host
}
