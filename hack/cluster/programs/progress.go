package programs

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// progress counts the lines of a `go build -v`, one a package, and shows how far the build is: a bar that is redrawn
// on a terminal, a line now and then elsewhere.
type progress struct {
	out      io.Writer
	label    string
	total    int
	terminal bool
	started  time.Time

	mu       sync.Mutex
	count    int
	fetched  int
	lines    []string // the last ones, for an error
	rest     []byte
	lastShow time.Time
}

const (
	redrawOnTerminal = 200 * time.Millisecond
	redrawElsewhere  = 15 * time.Second
	barWidth         = 30
	keptLines        = 20
)

func newProgress(out io.Writer, label string, total int) *progress {
	p := &progress{out: out, label: label, total: total, started: time.Now(), terminal: isTerminal(out)}
	p.show(true)
	return p
}

func isTerminal(out io.Writer) bool {
	file, ok := out.(*os.File)
	if !ok {
		return false
	}
	_, err := unix.IoctlGetTermios(int(file.Fd()), unix.TCGETS)
	return err == nil
}

// Write takes the go command's standard error.
func (p *progress) Write(data []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.rest = append(p.rest, data...)
	for {
		end := bytes.IndexByte(p.rest, '\n')
		if end < 0 {
			break
		}
		p.line(string(p.rest[:end]))
		p.rest = p.rest[end+1:]
	}
	p.show(false)
	return len(data), nil
}

func (p *progress) line(line string) {
	p.lines = append(p.lines, line)
	if len(p.lines) > keptLines {
		p.lines = p.lines[1:]
	}
	if strings.HasPrefix(line, "go: downloading") {
		p.fetched++
		return
	}
	p.count++
}

func (p *progress) show(always bool) {
	wait := redrawElsewhere
	if p.terminal {
		wait = redrawOnTerminal
	}
	if !always && time.Since(p.lastShow) < wait {
		return
	}
	p.lastShow = time.Now()
	text := p.text()
	if p.terminal {
		fmt.Fprintf(p.out, "\r\033[K%s", text)
		return
	}
	fmt.Fprintln(p.out, text)
}

func (p *progress) text() string {
	elapsed := time.Since(p.started).Round(time.Second)
	if p.count == 0 && p.fetched > 0 {
		return fmt.Sprintf("%s: %d modules fetched, %s", p.label, p.fetched, elapsed)
	}
	if p.total == 0 {
		return fmt.Sprintf("%s: %d packages, %s", p.label, p.count, elapsed)
	}
	filled := min(barWidth, barWidth*p.count/p.total)
	bar := strings.Repeat("#", filled) + strings.Repeat(".", barWidth-filled)
	return fmt.Sprintf("%s [%s] %d/%d packages, %s", p.label, bar, p.count, p.total, elapsed)
}

func (p *progress) done() {
	p.mu.Lock()
	defer p.mu.Unlock()
	text := fmt.Sprintf("%s: done in %s", p.label, time.Since(p.started).Round(time.Second))
	if p.terminal {
		text = "\r\033[K" + text
	}
	fmt.Fprintln(p.out, text)
}

// tail is the end of what the go command said.
func (p *progress) tail() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return strings.Join(p.lines, "\n")
}
