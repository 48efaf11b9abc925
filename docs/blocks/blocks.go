// Package blocks reads the commands and manifests of Markdown pages, for tests that run them.
package blocks

import (
	"regexp"
	"strings"
)

// Shell is the language of commands: of a fenced block that says so, and of every indented one.
const Shell = "sh"

// Block is what stands together.
type Block struct {
	// Language is what the fence says; Shell for an indented block.
	Language string
	// Text is without the fence and the indentation.
	Text string
	// Note is the comment in the line before the block, or before the empty line before it; empty for none.
	Note string
}

// First is the first line.
func (b Block) First() string {
	first, _, _ := strings.Cut(b.Text, "\n")
	return strings.TrimSpace(first)
}

const notRun = "not run: "

// Reason returns why, by its page, no test can run a block, in the comment before it; empty if it can.
func (b Block) Reason() string {
	reason, found := strings.CutPrefix(b.Note, notRun)
	if !found {
		return ""
	}
	return reason
}

// Of returns the blocks of a page, from top to bottom.
func Of(page string) []Block {
	r := &reader{}
	for line := range strings.Lines(page + "\n") {
		r.line(line)
	}
	return r.blocks
}

// reader is in the middle of a page.
type reader struct {
	blocks []Block
	// open is the block that is read; isFenced reports whether it is between fences, whose indentation indent is.
	open     *Block
	isFenced bool
	indent   string
	// note is the latest comment that only empty lines follow, and empty reports whether the last line was empty.
	note  string
	empty bool
}

const indentation = "    "

func (r *reader) line(line string) {
	text := strings.TrimSpace(line)
	indented, isIndented := strings.CutPrefix(line, indentation)
	switch {
	case r.isFenced:
		r.fenced(line, text)
	case strings.HasPrefix(text, "```"):
		r.isFenced = true
		r.indent, _, _ = strings.Cut(line, "`")
		r.begin(strings.TrimPrefix(text, "```"))
	case isIndented && text != "" && (r.open != nil || r.empty):
		if r.open == nil {
			r.begin(Shell)
		}
		r.open.Text += indented
	default:
		r.end()
		r.prose(text)
	}
	r.empty = text == ""
}

// fenced reads a line within a fence, or its end.
func (r *reader) fenced(line, text string) {
	if text == "```" {
		r.isFenced = false
		r.end()
		return
	}
	r.open.Text += strings.TrimPrefix(line, r.indent)
}

var comment = regexp.MustCompile(`^<!-- (.*) -->$`)

// prose keeps a comment until something else stands between it and a block.
func (r *reader) prose(text string) {
	found := comment.FindStringSubmatch(text)
	switch {
	case found != nil:
		r.note = found[1]
	case text != "":
		r.note = ""
	}
}

func (r *reader) begin(language string) {
	r.end()
	r.open = &Block{Language: language, Note: r.note}
	r.note = ""
}

func (r *reader) end() {
	if r.open != nil {
		r.blocks = append(r.blocks, *r.open)
		r.open = nil
	}
}
