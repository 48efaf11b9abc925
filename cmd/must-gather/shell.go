package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
	"mvdan.cc/sh/v3/interp"
	"mvdan.cc/sh/v3/syntax"
)

// ofSignal added to a signal's number is the exit code of what it ended.
const ofSignal = 128

// shell runs the script of -c, of a file, or of the standard input, as bash does. It is read as a whole, so that a
// mistake at its end keeps its beginning from running.
func shell(args []string, s streams) error {
	c, err := parseCall(args)
	if err != nil {
		return err
	}
	source := s.in
	switch {
	case c.script != nil:
		source = strings.NewReader(*c.script)
	case c.file != "":
		file, err := os.Open(c.file)
		if err != nil {
			fmt.Fprintln(s.err, err)
			return exitCode(notFound)
		}
		defer file.Close()
		source = file
	}
	parsed, err := syntax.NewParser().Parse(source, c.file)
	if err != nil {
		return err
	}
	return interpret(parsed, c.params, s)
}

// call is how a shell is called.
type call struct {
	script *string // of -c
	file   string
	params []string // options and what $1 and those after it are
}

// parseCall reads a shell's arguments: options of set, among them c; then the script or its file; then what $1 and those after it are.
// After a script comes $0, which is not kept.
func parseCall(args []string) (call, error) {
	var c call
	inline := false
	for len(args) > 0 && len(args[0]) > 1 && strings.ContainsAny(args[0][:1], "-+") && args[0] != "--" {
		option := args[0]
		args = args[1:]
		if strings.HasPrefix(option, "--") {
			return c, fmt.Errorf("option %s is not known", option)
		}
		inline = inline || strings.Contains(option, "c")
		if option = strings.NewReplacer("c", "", "l", "").Replace(option); len(option) == 1 {
			continue
		}
		c.params = append(c.params, option)
		if strings.HasSuffix(option, "o") && len(args) > 0 {
			c.params = append(c.params, args[0])
			args = args[1:]
		}
	}
	if len(args) > 0 && args[0] == "--" {
		args = args[1:]
	}
	c.params = append(c.params, "--")
	if inline {
		if len(args) == 0 {
			return c, errors.New("-c needs a script")
		}
		c.script = &args[0]
		args = args[min(2, len(args)):]
	} else if len(args) > 0 {
		c.file, args = args[0], args[1:]
	}
	c.params = append(c.params, args...)
	return c, nil
}

// interpret runs a script and returns its exit code as an error, if it is not 0.
func interpret(script *syntax.File, params []string, s streams) error {
	ctx, end := context.WithCancelCause(context.Background())
	defer end(nil)
	if os.Getpid() == 1 {
		// Signals without a handler do not reach the first process of a container. Go's runtime would end it.
		signal.Notify(make(chan os.Signal, 1), unix.SIGTERM, unix.SIGINT)
	}
	runner, err := interp.New(interp.StdIO(s.in, s.out, s.err), interp.Params(params...), interp.CallHandler(signals{end}.handle))
	if err != nil {
		return err
	}
	err = runner.Run(ctx, script)
	var code exitCode
	if errors.As(context.Cause(ctx), &code) { // a trapped signal
		return code
	}
	if status, is := errors.AsType[interp.ExitStatus](err); is {
		return exitCode(status)
	}
	return err
}

// signals has the parts of a shell that the interpreter lacks: kill, and trap for signals.
type signals struct{ end context.CancelCauseFunc }

// handle does kill and trap itself, and lets true or false stand in their place.
func (s signals) handle(ctx context.Context, args []string) ([]string, error) {
	var err error
	switch {
	case args[0] == "kill":
		err = kill(args[1:])
	case args[0] == "trap" && len(args) > 2 && !slices.Contains([]string{"EXIT", "ERR"}, args[2]):
		err = s.trap(args[1], args[2:])
	default:
		return args, nil
	}
	if err != nil {
		fmt.Fprintf(interp.HandlerCtx(ctx).Stderr, "%s: %v\n", args[0], err)
		return []string{"false"}, nil
	}
	return []string{"true"}, nil
}

// trap has signals end the script, with what it waits for. Other actions than none, the colon, it does not know.
func (s signals) trap(action string, names []string) error {
	if action != ":" {
		return fmt.Errorf("the action %q is not known for a signal, only the colon", action)
	}
	var caught []os.Signal
	for _, name := range names {
		number, err := signalNumber(name)
		if err != nil {
			return err
		}
		caught = append(caught, number)
	}
	arrived := make(chan os.Signal, 1)
	signal.Notify(arrived, caught...)
	go func() {
		if number, is := (<-arrived).(syscall.Signal); is {
			s.end(exitCode(ofSignal + int(number)))
		}
	}()
	return nil
}

// kill sends a signal, SIGTERM if none is named, to processes. Process 0 is every one of the shell's group.
func kill(args []string) error {
	number := unix.SIGTERM
	if len(args) > 0 && strings.HasPrefix(args[0], "-") {
		name := args[0][1:]
		args = args[1:]
		if name == "s" && len(args) > 0 {
			name, args = args[0], args[1:]
		}
		var err error
		if number, err = signalNumber(name); err != nil {
			return err
		}
	}
	if len(args) == 0 {
		return errors.New("name a process")
	}
	for _, arg := range args {
		pid, err := strconv.Atoi(arg)
		if err != nil {
			return fmt.Errorf("%q is no number of a process", arg)
		}
		if err := unix.Kill(pid, number); err != nil {
			return fmt.Errorf("signal process %d: %w", pid, err)
		}
	}
	return nil
}

// signalNumber reads a signal's name, with or without SIG, or number.
func signalNumber(name string) (syscall.Signal, error) {
	if number, err := strconv.Atoi(name); err == nil && number >= 0 && unix.SignalName(syscall.Signal(number)) != "" {
		return syscall.Signal(number), nil
	}
	if number := unix.SignalNum("SIG" + strings.TrimPrefix(strings.ToUpper(name), "SIG")); number != 0 {
		return number, nil
	}
	return 0, fmt.Errorf("%q is no signal", name)
}
