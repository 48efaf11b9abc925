package document

import (
	"strconv"
	"time"
)

// BundledFile is a file of a support bundle.
type BundledFile struct {
	Path   string `json:"path"`
	About  string `json:"about"`
	Bytes  int    `json:"bytes"`
	SHA256 string `json:"sha256"`
}

// MissingPart is what a support bundle lacks.
type MissingPart struct {
	What string `json:"what"`
	Why  string `json:"why"`
}

// SupportBundle names what is in a support bundle, and what is not.
type SupportBundle struct {
	header
	Created time.Time     `json:"created"`
	Files   []BundledFile `json:"files"`
	Missing []MissingPart `json:"missing,omitempty"`
}

// NewSupportBundle returns the document.
func NewSupportBundle(created time.Time, files []BundledFile, missing []MissingPart) SupportBundle {
	return SupportBundle{headerOf("SupportBundle"), created.UTC().Truncate(time.Second), files, missing}
}

// Print implements Document. What is missing goes to the standard error, where the command has it.
func (s SupportBundle) Print(p *Printer) {
	rows := make([][]string, 0, len(s.Files))
	for _, f := range s.Files {
		rows = append(rows, []string{f.Path, strconv.Itoa(f.Bytes), f.About, f.SHA256})
	}
	p.tableOr("FILE BYTES WHAT +SHA256", rows, "Nothing could be read.")
}

// Names implements Document.
func (s SupportBundle) Names() (names []string) {
	for _, f := range s.Files {
		names = append(names, "file/"+f.Path)
	}
	return names
}
