package main

import (
	"errors"
	"fmt"
	"math"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/prometheus/procfs"
	"github.com/spf13/pflag"
	"golang.org/x/sys/unix"
)

// eachProcess hands over the processes that there are. One that ends meanwhile is left out.
func eachProcess(do func(procfs.ProcStat) error) error {
	found, err := procfs.AllProcs()
	if err != nil {
		return fmt.Errorf("list processes: %w", err)
	}
	for _, process := range found {
		stat, err := process.Stat()
		if err != nil {
			continue
		}
		if err := do(stat); err != nil {
			return err
		}
	}
	return nil
}

// ps lists all processes: the number, the session and the program of each, or what -o names.
func ps(args []string, s streams) error {
	flags := flagsOf("ps", s)
	fields := flags.StringSliceP("format", "o", []string{"pid", "sess", "comm"}, "what to print")
	bare := flags.Bool("no-headers", false, "no first line")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if !*bare {
		fmt.Fprintln(s.out, strings.ToUpper(strings.Join(*fields, " ")))
	}
	return eachProcess(func(process procfs.ProcStat) error {
		known := map[string]string{"pid": strconv.Itoa(process.PID), "sess": strconv.Itoa(process.Session), "comm": process.Comm}
		var values []string
		for _, field := range *fields {
			value, is := known[field]
			if !is {
				return fmt.Errorf("%q is none of pid, sess and comm", field)
			}
			values = append(values, value)
		}
		_, err := fmt.Fprintln(s.out, strings.Join(values, " "))
		return err
	})
}

// pkill signals the processes of a session, or those in whose name a text is. Without any its exit code is 1.
func pkill(args []string, s streams) error {
	flags := flagsOf("pkill", s)
	name := flags.String("signal", "SIGTERM", "what to send")
	session := flags.IntP("session", "s", 0, "whose processes")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() > 1 || (*session > 0) == (flags.NArg() == 1) {
		return errors.New("name a --session, or a program")
	}
	number, err := signalNumber(*name)
	if err != nil {
		return err
	}
	signalled := false
	err = eachProcess(func(process procfs.ProcStat) error {
		meant := process.Session == *session || (flags.NArg() == 1 && strings.Contains(process.Comm, flags.Arg(0)))
		if !meant || process.PID == os.Getpid() {
			return nil
		}
		if err := unix.Kill(process.PID, number); err != nil && !errors.Is(err, unix.ESRCH) {
			return fmt.Errorf("signal process %d: %w", process.PID, err)
		}
		signalled = true
		return nil
	})
	if err == nil && !signalled {
		err = exitCode(1)
	}
	return err
}

// setsid runs a program in a session of its own. It always waits, as with -w, and ends as the program ends.
func setsid(args []string, s streams) error {
	flags := flagsOf("setsid", s)
	flags.BoolP("wait", "w", true, "wait for the program")
	flags.SetInterspersed(false)
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() == 0 {
		return errors.New("name a program")
	}
	program := exec.Command(flags.Arg(0), flags.Args()[1:]...)
	program.Stdin, program.Stdout, program.Stderr = s.in, s.out, s.err
	program.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	err := program.Run()
	if ended, is := errors.AsType[*exec.ExitError](err); is {
		if status, is := ended.Sys().(syscall.WaitStatus); is && status.Signaled() {
			return exitCode(ofSignal + int(status.Signal()))
		}
		return exitCode(ended.ExitCode())
	}
	return err
}

// sleep sleeps for a number of seconds, or of what stands behind the number, or "infinity".
func sleep(args []string, s streams) error {
	flags := pflag.NewFlagSet("sleep", pflag.ContinueOnError)
	flags.SetOutput(s.err)
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() != 1 {
		return errors.New("say for how long")
	}
	text := flags.Arg(0)
	if text == "infinity" {
		time.Sleep(math.MaxInt64)
		return nil
	}
	if strings.TrimRight(text, "0123456789.") == "" {
		text += "s"
	}
	long, err := time.ParseDuration(text)
	if err != nil || long < 0 {
		return fmt.Errorf("%q is no time", flags.Arg(0))
	}
	time.Sleep(long)
	return nil
}
