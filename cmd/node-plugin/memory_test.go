package main

import (
	"os"
	"strconv"
	"strings"
	"testing"
)

// What the tests' program read for its start is given back, and what it needs is read again: the test goes on.
func TestProgramIsPagedOut(t *testing.T) {
	before := ofTheProgram(t)
	if err := pageOutProgram(); err != nil {
		t.Fatal(err)
	}
	if after := ofTheProgram(t); after > before*3/4 {
		t.Errorf("%d KiB of files are in memory, and %d before", after, before)
	}
}

// ofTheProgram is how many KiB of files this process has in memory: its program, for the most part (RssFile, proc_pid_status(5)).
func ofTheProgram(t *testing.T) int {
	t.Helper()
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(status), "RssFile:")
	kibibytes, err := strconv.Atoi(strings.Fields(rest)[0])
	if err != nil {
		t.Fatal(err)
	}
	return kibibytes
}
