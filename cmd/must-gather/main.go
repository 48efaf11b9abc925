package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/u-root/u-root/pkg/core"
	"github.com/u-root/u-root/pkg/core/cat"
	"github.com/u-root/u-root/pkg/core/find"
	"github.com/u-root/u-root/pkg/core/ls"
	"github.com/u-root/u-root/pkg/core/mkdir"
	"github.com/u-root/u-root/pkg/core/rm"
)

func main() {
	os.Exit(run(filepath.Base(os.Args[0]), os.Args[1:], streams{os.Stdin, os.Stdout, os.Stderr}))
}

// streams are a command's.
type streams struct {
	in       io.Reader
	out, err io.Writer
}

// command runs with arguments, its own name not among them.
type command func(args []string, s streams) error

// exitCode ends a command without a word.
type exitCode int

// Error returns the code.
func (e exitCode) Error() string { return fmt.Sprintf("exit status %d", int(e)) }

// commands are what the program can be called as.
func commands() map[string]command {
	return map[string]command{
		"bash": shell, "sh": shell,
		"awk": awk, "sed": sed, "sort": sortLines,
		"df": df, "du": du, "sync": syncDisks, "tar": tarFiles,
		"ps": ps, "pkill": pkill, "setsid": setsid, "sleep": sleep,
		"cat": borrowed(cat.New), "find": borrowed(find.New), "ls": borrowed(ls.New), "mkdir": borrowed(mkdir.New), "rm": borrowed(rm.New),
	}
}

// borrowed is a command of u-root's.
func borrowed(made func() core.Command) command {
	return func(args []string, s streams) error {
		c := made()
		c.SetIO(s.in, s.out, s.err)
		return c.Run(args...)
	}
}

// run runs the command of a name and returns its exit code.
func run(name string, args []string, s streams) int {
	found, is := commands()[name]
	if !is {
		fmt.Fprintf(s.err, "%s is no command of this image\n", name)
		return notFound
	}
	err := found(args, s)
	var code exitCode
	switch {
	case err == nil:
		return 0
	case errors.As(err, &code):
		return int(code)
	default:
		fmt.Fprintf(s.err, "%s: %v\n", name, err)
		return 1
	}
}

// notFound is a shell's exit code where a command is not there.
const notFound = 127
