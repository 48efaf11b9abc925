package main

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// clockStep is how far the clock jumps, forth and back, in seconds: a day.
	clockStep = 24 * 60 * 60

	// clockPause is the time between two jumps.
	clockPause = 2 * time.Millisecond
)

// whileTheClockJumps runs the tests of what depends on time. Only a machine of the tests' own may have its clock set.
func whileTheClockJumps(cell) error {
	ctx, stop := context.WithCancel(context.Background())
	var jumping sync.WaitGroup
	var jumped error
	jumping.Go(func() { jumped = jump(ctx) })
	var errs []error
	for _, name := range []string{"volume", "pull"} {
		said, err := exec.Command("/usr/bin/"+name+".test", "-test.v", "-test.run=WhateverTheClockSays$").CombinedOutput()
		errs = append(errs, judge(string(said), err))
	}
	stop()
	jumping.Wait()
	return errors.Join(append(errs, jumped)...)
}

// jump sets the clock forth and back until ctx ends; then it is right again.
func jump(ctx context.Context) error {
	for step := int64(clockStep); step < 0 || ctx.Err() == nil; step = -step {
		var now unix.Timespec
		if err := unix.ClockGettime(unix.CLOCK_REALTIME, &now); err != nil {
			return err
		}
		now.Sec += step
		if err := unix.ClockSettime(unix.CLOCK_REALTIME, &now); err != nil {
			return fmt.Errorf("setting the clock: %w", err)
		}
		time.Sleep(clockPause)
	}
	return nil
}
