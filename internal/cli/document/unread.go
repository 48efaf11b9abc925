package document

import (
	"strings"

	"github.com/image-csi/image-csi-operator/internal/cli/seen"
)

// unread has the reader know what an answer leaves out.
func (p *Printer) unread(missed []seen.Unread) {
	var forbidden, absent []string
	for _, u := range missed {
		switch u.Cause {
		case seen.Forbidden:
			forbidden = append(forbidden, string(u.Resource))
		case seen.NotServed:
			absent = append(absent, string(u.Resource))
		}
	}
	if len(forbidden) > 0 {
		p.Line("Note     you may not read %s; what depends on them is left out", strings.Join(forbidden, ", "))
	}
	if len(absent) > 0 {
		p.Line("Note     this cluster has no %s", strings.Join(absent, ", "))
	}
}
