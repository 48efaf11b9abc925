package bench

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/image-csi/image-csi-operator/test/internal/nodes"
)

// process is the directory of the node plugin's process in the node's /proc.
func process(b *testing.B, p *nodes.Plugin) string {
	b.Helper()
	commands, err := filepath.Glob(filepath.Join(p.Target.Root(), "proc/[0-9]*/cmdline"))
	must(b, err)
	for _, path := range commands {
		content, err := os.ReadFile(path)
		if err == nil && strings.HasPrefix(string(content), "/opt/node-plugin\x00") && strings.Contains(string(content), "="+p.Driver+"\x00") {
			return filepath.Dir(path)
		}
	}
	b.Fatal("the node plugin does not run")
	return ""
}

// usage is what the node plugin holds, by proc_pid_status(5): resident memory (VmRSS, which counts the pages of the
// program file, too), threads and open files; and by its own metrics: goroutines.
type usage struct {
	mebibytes                  float64
	threads, files, goroutines int
}

func (u usage) String() string {
	return fmt.Sprintf("%.1f MiB, %d threads, %d files, %d goroutines", u.mebibytes, u.threads, u.files, u.goroutines)
}

func usageOf(b *testing.B, p *nodes.Plugin, process string) usage {
	b.Helper()
	status, err := os.ReadFile(filepath.Join(process, "status"))
	must(b, err)
	files, err := os.ReadDir(filepath.Join(process, "fd"))
	must(b, err)
	u := usage{files: len(files), goroutines: int(p.Metric(b, "go_goroutines"))}
	for line := range strings.Lines(string(status)) {
		fields := strings.Fields(line)
		switch fields[0] {
		case "VmRSS:":
			kibibytes, err := strconv.ParseFloat(fields[1], 64)
			must(b, err)
			u.mebibytes = kibibytes / 1024
		case "Threads:":
			u.threads, err = strconv.Atoi(fields[1])
			must(b, err)
		}
	}
	return u
}

// children counts the page faults of the child processes that a process ever waited for (cminflt of proc_pid_stat(5)).
// No program starts without any.
func children(b *testing.B, process string) float64 {
	b.Helper()
	stat, err := os.ReadFile(filepath.Join(process, "stat"))
	must(b, err)
	_, rest, _ := strings.Cut(string(stat), ") ")
	faults, err := strconv.ParseFloat(strings.Fields(rest)[8], 64)
	must(b, err)
	return faults
}

// BenchmarkMemory holds nothing, then many volumes, then many volumes one after the other, for each runtime and kind.
func BenchmarkMemory(b *testing.B) {
	for i, runtime := range []string{"", ", CRI-O"} {
		for _, kind := range []string{"", ", writable"} {
			benchmarkMemory(b, suite.Targets(b)[i], kind != "", kind+runtime)
		}
	}
}

func benchmarkMemory(b *testing.B, target *nodes.Target, writable bool, of string) {
	b.Helper()
	const volumes, cycles, callers = 500, 10000, 8
	p := pluginOn(b, target)
	at := process(b, p)
	mebibytes := func() (float64, string) {
		u := usageOf(b, p, at)
		return u.mebibytes, u.String()
	}
	if !writable {
		measure(b, "memory, idle"+of, mebibytes)
	}
	held := make([]volume, 0, volumes)
	for i := range volumes {
		v := newVolume(b, p, fmt.Sprint("held-", i), nodes.Numbered(10))
		if writable {
			v = v.writable()
		}
		held = append(held, v)
		pulled(b, v)
	}
	measure(b, "memory, 500 volumes"+of, mebibytes)
	for _, v := range held[1:] {
		must(b, v.unpublish())
	}
	cycle := func(times int) {
		together(b, callers, func() error { return nil }, func(caller int) error {
			for range times / callers {
				if err := held[1+caller].publish(); err != nil {
					return err
				}
				if err := held[1+caller].unpublish(); err != nil {
					return err
				}
			}
			return nil
		})
	}
	cycle(cycles / 5)
	first := usageOf(b, p, at)
	cycle(cycles)
	before, after := first, usageOf(b, p, at)
	// Another try is as many volumes again. A leak grows with each of them; what the Go runtime makes when calls happen to block
	// at the same time, and keeps, such as threads, does not.
	growth := func(figure func() float64) func() (float64, string) {
		tried := false
		return func() (float64, string) {
			if tried {
				before = after
				cycle(cycles)
				after = usageOf(b, p, at)
			}
			tried = true
			return figure(), fmt.Sprintf("%s, then %s", before, after)
		}
	}
	measure(b, "memory after 10000 more volumes"+of, growth(func() float64 { return 1 + (after.mebibytes-before.mebibytes)/first.mebibytes }))
	measure(b, "files after 10000 more volumes"+of, growth(func() float64 { return float64(after.files - before.files) }))
	measure(b, "threads after 10000 more volumes"+of, growth(func() float64 { return float64(after.threads - before.threads) }))
	measure(b, "goroutines after 10000 more volumes"+of, growth(func() float64 { return float64(after.goroutines - before.goroutines) }))
	measure(b, "programs started by the node plugin"+of, func() (float64, string) { return children(b, at), "page faults of child processes" })
	must(b, held[0].unpublish())
	p.Stop(b, syscall.SIGTERM) // it takes no time from the next one
}
