package main

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
)

func main() {
	file := flag.String("file", "../../../config/dashboard/dashboard.json", "the file, which is written anew")
	flag.Parse()
	if err := write(*file); err != nil {
		fmt.Fprintln(os.Stderr, "dashboard:", err)
		os.Exit(1)
	}
}

func write(file string) error {
	text, err := json.MarshalIndent(board(sections), "", "  ")
	if err != nil {
		return fmt.Errorf("make %s: %w", file, err)
	}
	// Queries stay readable: the JSON is no part of a page.
	text = bytes.ReplaceAll(bytes.ReplaceAll(text, []byte(`\u003e`), []byte(">")), []byte(`\u003c`), []byte("<"))
	return os.WriteFile(file, append(text, '\n'), 0o644)
}
