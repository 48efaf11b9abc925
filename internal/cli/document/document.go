package document

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"unicode"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/cli-runtime/pkg/printers"
	"sigs.k8s.io/yaml"
)

// APIVersion is the version of the documents. Within it fields are added and never change their meaning.
const APIVersion = "cli.imagecsi.dev/v1alpha1"

// Document is one answer of the program.
type Document interface {
	// Print writes the document for people.
	Print(*Printer)
	// Names are what the document lists, as kind/name.
	Names() []string
}

// Format is how a document is written.
type Format string

// The formats.
const (
	FormatTable Format = "table"
	FormatWide  Format = "wide"
	FormatJSON  Format = "json"
	FormatYAML  Format = "yaml"
	FormatName  Format = "name"
)

// Check returns an error that names the formats if it is none of them.
func (f Format) Check() error {
	switch f {
	case FormatTable, FormatWide, FormatJSON, FormatYAML, FormatName:
		return nil
	default:
		return fmt.Errorf("--output %q is not one of table, wide, json, yaml, name", string(f))
	}
}

// Options are how tables are printed.
type Options struct {
	// NoHeaders leaves the headers of tables out.
	NoHeaders bool
}

// Write writes a document.
func Write(w io.Writer, d Document, format Format, options Options) error {
	switch format {
	case FormatJSON:
		text, err := jsonOf(d)
		if err != nil {
			return err
		}
		_, err = w.Write(text)
		return err
	case FormatYAML:
		text, err := jsonOf(d)
		if err == nil {
			text, err = yaml.JSONToYAML(text)
		}
		if err != nil {
			return err
		}
		_, err = w.Write(text)
		return err
	case FormatName:
		p := &Printer{w: w}
		for _, name := range d.Names() {
			p.Line("%s", name)
		}
		return p.err
	default:
		p := &Printer{w: w, wide: format == FormatWide, options: options}
		d.Print(p)
		return p.err
	}
}

// jsonOf writes a document as JSON.
func jsonOf(d Document) ([]byte, error) {
	var text bytes.Buffer
	encoder := json.NewEncoder(&text)
	encoder.SetIndent("", "  ")
	encoder.SetEscapeHTML(false)
	err := encoder.Encode(d)
	return []byte(escaped(text.String())), err
}

// escaped writes control characters that JSON may have as they are, and terminals obey, as JSON's escapes.
func escaped(text string) string {
	var out strings.Builder
	for _, r := range text {
		if r >= 0x7f && unicode.IsControl(r) {
			fmt.Fprintf(&out, `\u%04x`, r)
		} else {
			out.WriteRune(r)
		}
	}
	return out.String()
}

// header starts every document.
type header struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
}

func headerOf(kind string) header { return header{APIVersion, kind} }

// Printer writes lines and tables. After an error it writes no more.
type Printer struct {
	w       io.Writer
	wide    bool
	options Options
	err     error
}

// Line writes one line. Texts of the cluster are anybody's: what in them would move the cursor, start another line or colour a terminal
// is shown, or left out.
func (p *Printer) Line(format string, args ...any) {
	if p.err == nil {
		_, p.err = fmt.Fprintln(p.w, strings.TrimRight(oneLine(fmt.Sprintf(format, args...)), " "))
	}
}

// oneLine shows escapes as kubectl's tables do, and has a space for other control characters.
func oneLine(text string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, printers.EscapeTerminal(text))
}

// column is one of a table; the output "wide" has the wide ones, too.
type column struct {
	name string
	wide bool
}

// columns returns the columns of a header such as "NAME READY +REVISION", in which a plus stands before a wide one.
func columns(header string) (found []column) {
	for _, name := range strings.Fields(header) {
		plain, wide := strings.CutPrefix(name, "+")
		found = append(found, column{strings.ReplaceAll(plain, "_", " "), wide})
	}
	return found
}

// tableOr prints a table, or where there are no rows a line that says so.
func (p *Printer) tableOr(header string, rows [][]string, none string) {
	if len(rows) == 0 {
		p.Line("%s", none)
		return
	}
	p.Table(header, rows)
}

// Table writes rows below a header: words in which an underscore stands for a space, and a plus before a column of "wide". An empty
// cell is shown as "-".
func (p *Printer) Table(header string, rows [][]string) {
	if p.err != nil {
		return
	}
	table := &metav1.Table{}
	for _, c := range columns(header) {
		priority := int32(0)
		if c.wide {
			priority = 1
		}
		table.ColumnDefinitions = append(table.ColumnDefinitions, metav1.TableColumnDefinition{Name: c.name, Type: "string", Priority: priority})
	}
	for _, row := range rows {
		cells := make([]any, 0, len(row))
		for _, cell := range row {
			if cell == "" {
				cell = "-"
			}
			cells = append(cells, oneLine(cell))
		}
		table.Rows = append(table.Rows, metav1.TableRow{Cells: cells})
	}
	aligned := printers.GetNewTabWriter(p.w)
	printer := printers.NewTablePrinter(printers.PrintOptions{Wide: p.wide, NoHeaders: p.options.NoHeaders})
	if p.err = printer.PrintObj(table, aligned); p.err == nil {
		p.err = aligned.Flush()
	}
}
