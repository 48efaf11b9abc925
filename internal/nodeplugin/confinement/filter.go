package confinement

import (
	"errors"
	"fmt"
	"runtime"

	seccomp "github.com/elastic/go-seccomp-bpf"
	"github.com/elastic/go-seccomp-bpf/arch"
	"golang.org/x/sys/unix"

	"github.com/image-csi/image-csi-operator/internal/privileges"
)

// policy returns the filter of the process with an ID. What it does not allow fails with EPERM.
func policy(pid int) (seccomp.Policy, error) {
	machine, err := arch.GetInfo("")
	if err != nil {
		return seccomp.Policy{}, fmt.Errorf("finding the processor's system calls: %w", err)
	}
	allowed := seccomp.SyscallGroup{Action: seccomp.ActionAllow, Names: namesOn(machine, privileges.Unconditional())}
	// The Go runtime interrupts its own threads.
	toItself := privileges.SystemCall{Name: "tgkill", Argument: 0, Test: privileges.Equal, Value: uint64(pid)}
	for _, call := range append(privileges.Conditional(), toItself) {
		for _, name := range namesOn(machine, []string{call.Name}) {
			allowed.NamesWithCondtions = append(allowed.NamesWithCondtions, seccomp.NameWithConditions{Name: name, Conditions: conditions(call)})
		}
	}
	absent := seccomp.SyscallGroup{Action: seccomp.ActionErrno | seccomp.Action(unix.ENOSYS), Names: []string{"clone3"}}
	return seccomp.Policy{DefaultAction: seccomp.ActionErrno, Syscalls: []seccomp.SyscallGroup{allowed, absent}}, nil
}

// namesOn returns the names of system calls on a processor, without those that it does not have.
func namesOn(machine *arch.Info, names []string) []string {
	var out []string
	for _, name := range names {
		if _, has := machine.SyscallNames[name]; !has && name == "newfstatat" {
			name = "fstatat" // as the library calls it on arm64
		}
		if _, has := machine.SyscallNames[name]; has {
			out = append(out, name)
		}
	}
	return out
}

func conditions(call privileges.SystemCall) []seccomp.Condition {
	operation := seccomp.Equal
	if call.Test == privileges.NoBits {
		operation = seccomp.BitsNotSet
	}
	return []seccomp.Condition{{Argument: uint32(call.Argument), Operation: operation, Value: call.Value}}
}

// install puts the filter of the process with an ID on every thread, and no_new_privs with it (seccomp(2),
// SECCOMP_FILTER_FLAG_TSYNC). It returns how many filters the calling thread has now. A thread that cannot get them is no
// error here: check finds it.
func install(pid int) (filters int, err error) {
	filter, err := policy(pid)
	if err != nil {
		return 0, err
	}
	runtime.LockOSThread() // The library sets no_new_privs on the calling thread first, and the kernel asks that thread for it.
	defer runtime.UnlockOSThread()
	before, err := readStatus(ownThread)
	if err != nil {
		return 0, err
	}
	if err := seccomp.LoadFilter(seccomp.Filter{NoNewPrivs: true, Flag: seccomp.FilterFlagTSync, Policy: filter}); err != nil {
		return 0, fmt.Errorf("filtering the process's own system calls (the kernel needs CONFIG_SECCOMP_FILTER, and the "+
			"container's seccomp profile must allow seccomp and prctl): %w", err)
	}
	after, err := readStatus(ownThread)
	if err != nil {
		return 0, err
	}
	if before.filters() >= after.filters() && after[filtersKey] != "" {
		return 0, errors.New("filtering the process's own system calls: the kernel has taken the filter, and does not use it: a thread " +
			"of this process has another one")
	}
	return after.filters(), nil
}
