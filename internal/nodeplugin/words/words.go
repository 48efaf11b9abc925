// Package words makes errors fit for a pod's event: one line with its cause, in the same words every time, because
// Kubernetes counts events with equal text and makes a new event for any other.
package words

import (
	"regexp"
	"strings"
)

// temporary are the parts of an error that differ at each try, by what stands before or after them, which stays.
var temporary = []struct { //nolint:gochecknoglobals // a table that nothing changes
	pattern *regexp.Regexp
	stays   string
}{
	// Ports from which a connection was made.
	{regexp.MustCompile(`(\d{1,3}(?:\.\d{1,3}){3}|\[[0-9A-Fa-f:.]+(?:%\w+)?\]):\d{1,5}->`), "$1->"},
	// Snapshots of containerd, and what it mounts them at while it unpacks a layer.
	{regexp.MustCompile(`\bextract-\d+-[\w-]+`), "extract-…"},
	{regexp.MustCompile(`(/snapshots/)\d+`), "$1…"},
	{regexp.MustCompile(`\b(containerd-mount)\d+`), "$1…"},
	// Temporary files, also of containers/image and containers/storage.
	{regexp.MustCompile(`((?:^|[\s"'=(:,])/(?:var/)?tmp/|/tmpmounts/|/tempdirs/|/staging/)[^/\s"':,)]+`), "$1…"},
	{regexp.MustCompile(`\b(container_images_[a-z]+-?|storage|oci)\d{5,}`), "$1…"},
	// Names that registries give to requests, and to their streams.
	{regexp.MustCompile(`(?i)\b((?:request|host|trace|correlation|transaction|activity|ray)[-_ ]?id["']?\s?[=:>]\s?["']?)[\w+/=-]{4,}`), "$1…"},
	{regexp.MustCompile(`(^|[\s"'=:>(])[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}\b`), "$1…"},
	{regexp.MustCompile(`(?i)\b(stream id|laststreamid)\b([ =:]{1,3})\d+`), "$1$2…"},
	// Times, and what had arrived when a connection broke.
	{regexp.MustCompile(`\b(current time )\S+`), "$1…"},
	{regexp.MustCompile(`(?i)\b(time(?:stamp)?["']?\s?[=:]\s?["']?)\d{4}-\d\d-\d\d[T ]\d\d:\d\d[\d:.+Z-]*`), "$1…"},
	{regexp.MustCompile(`\b(locked for )\S+ \(since [^)]*\)`), "$1…"},
	{regexp.MustCompile(`(?i)\b(retry[- ]after\W{1,3})[\d.]+(?:[a-zµ]+)?`), "$1…"},
	{regexp.MustCompile(`\b(bytes but got )\d+`), "$1…"},
}

// maxRead bounds the text that Steady reads, because the patterns' cost grows with it: a MiB takes seconds.
const maxRead = 16 << 10

// Steady puts a text on one line and removes what differs at each try: names of temporary files, local ports, times. Of a
// very long text it returns the beginning and the end.
func Steady(text string) string {
	text = strings.Join(strings.Fields(Shorten(text, maxRead)), " ")
	for _, t := range temporary {
		text = t.pattern.ReplaceAllString(text, t.stays)
	}
	return text
}

// Shorten cuts a text to a number of bytes where it is longer. It removes the middle, because an error begins with what was
// attempted and ends with its cause.
func Shorten(text string, limit int) string {
	const gap = " … "
	if len(text) <= limit {
		return text
	}
	if limit < 4*len(gap) {
		return strings.ToValidUTF8(text[:max(limit, 0)], "")
	}
	head := limit / 3
	tail := len(text) - (limit - head - len(gap))
	return strings.TrimSpace(strings.ToValidUTF8(text[:head], "")) + gap + strings.TrimSpace(strings.ToValidUTF8(text[tail:], ""))
}
