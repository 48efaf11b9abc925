package document

// Version is the version of the program.
type Version struct {
	header
	// ClientVersion is the release.
	ClientVersion string `json:"clientVersion"`
	// Platform is the operating system and architecture that it is built for.
	Platform string `json:"platform"`
}

// NewVersion returns the document.
func NewVersion(version, platform string) Version {
	return Version{headerOf("Version"), version, platform}
}

// Print implements Document.
func (v Version) Print(p *Printer) { p.Line("Client Version: %s (%s)", v.ClientVersion, v.Platform) }

// Names implements Document.
func (v Version) Names() []string { return []string{"version/" + v.ClientVersion} }
