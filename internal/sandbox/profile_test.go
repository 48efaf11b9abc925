package sandbox

import (
	"encoding/json"
	"flag"
	"os"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/containerd/containerd/v2/contrib/seccomp"
	"github.com/opencontainers/runtime-spec/specs-go"
)

var update = flag.Bool("update", false, "rewrite the rules from the pinned release of containerd")

// processorsOwn are system calls that containerd allows on one architecture only.
func processorsOwn() map[string][]string {
	return map[string][]string{
		"amd64": {"arch_prctl", "modify_ldt"},
		"arm64": {"arm_fadvise64_64", "arm_sync_file_range", "sync_file_range2", "breakpoint", "cacheflush", "set_tls"},
	}
}

// withoutCapabilities returns containerd's default rules for a container without capabilities, but for those of one architecture.
// The rule of clone, which allows it to make no namespace, is not among them.
func withoutCapabilities(t *testing.T) []specs.LinuxSyscall {
	t.Helper()
	profile := seccomp.DefaultProfile(&specs.Spec{Process: &specs.Process{Capabilities: &specs.LinuxCapabilities{}}})
	if profile.DefaultAction != specs.ActErrno || profile.DefaultErrnoRet != nil || len(profile.Flags) > 0 {
		t.Fatalf("containerd's profile is of another kind than Profile returns: %+v", profile)
	}
	for _, architecture := range profile.Architectures {
		if !slices.Contains(names(runtime.GOARCH), string(architecture)) {
			t.Errorf("containerd's profile is also for %s", architecture)
		}
	}
	return slices.DeleteFunc(profile.Syscalls, func(rule specs.LinuxSyscall) bool {
		return slices.Equal(rule.Names, []string{"clone"}) || slices.Equal(rule.Names, processorsOwn()[runtime.GOARCH])
	})
}

func TestTheRulesAreContainerdsDefaultAndFiveSystemCalls(t *testing.T) {
	var processors []string
	for _, names := range processorsOwn() {
		processors = append(processors, names...)
	}
	slices.Sort(processors)
	want := append(withoutCapabilities(t), specs.LinuxSyscall{Names: processors, Action: specs.ActAllow}, specs.LinuxSyscall{Names: Calls(), Action: specs.ActAllow})
	if *update {
		lines := make([]string, len(want))
		for i, rule := range want {
			line, err := json.Marshal(rule)
			if err != nil {
				t.Fatal(err)
			}
			lines[i] = string(line)
		}
		if err := os.WriteFile("rules.json", []byte("[\n"+strings.Join(lines, ",\n")+"\n]\n"), 0o644); err != nil {
			t.Fatal(err)
		}
		t.Skip("the rules are rewritten")
	}
	for _, architecture := range []string{"amd64", "arm64", "riscv64"} {
		got := parse(t, Profile(architecture))
		if len(got.Syscalls) != len(want) || got.DefaultAction != specs.ActErrno {
			t.Fatalf("%s: %d rules and %s by default, want %d; go test ./internal/sandbox -update rewrites them", architecture, len(got.Syscalls), got.DefaultAction, len(want))
		}
		for i, rule := range want {
			if rule.Args = slices.Clip(rule.Args); len(rule.Args) == 0 {
				rule.Args = nil
			}
			if !reflect.DeepEqual(got.Syscalls[i], rule) {
				t.Errorf("%s: rule %d is\n%+v\nwant\n%+v\ngo test ./internal/sandbox -update rewrites the rules", architecture, i, got.Syscalls[i], rule)
			}
		}
	}
}

// TestOnlyTheFiveCallsAreMore finds for every system call whether a container may make it with any arguments.
func TestOnlyTheFiveCallsAreMore(t *testing.T) {
	always := func(rules []specs.LinuxSyscall) map[string]bool {
		out := map[string]bool{}
		for _, rule := range rules {
			for _, name := range rule.Names {
				if rule.Action == specs.ActAllow && len(rule.Args) == 0 {
					out[name] = true
				}
			}
		}
		return out
	}
	before := always(withoutCapabilities(t))
	for _, names := range processorsOwn() {
		for _, name := range names {
			before[name] = true
		}
	}
	var more []string
	for name := range always(parse(t, Profile("amd64")).Syscalls) {
		if !before[name] {
			more = append(more, name)
		}
	}
	slices.Sort(more)
	if want := Calls(); !slices.Equal(more, want) {
		t.Errorf("beyond containerd's default, %v are allowed, want %v", more, want)
	}
	for _, name := range strings.Fields("setns bpf open_by_handle_at keyctl add_key init_module finit_module kexec_load reboot swapon mount_setattr fsopen move_mount open_tree userfaultfd perf_event_open chroot") {
		for _, rule := range parse(t, Profile("amd64")).Syscalls {
			if slices.Contains(rule.Names, name) {
				t.Errorf("%s is listed: %+v", name, rule)
			}
		}
	}
}

func TestAProfileIsForTheProgramsThatAProcessorRuns(t *testing.T) {
	for architecture, want := range map[string][]specs.Arch{
		"amd64":   {specs.ArchX86_64, specs.ArchX86, specs.ArchX32},
		"arm64":   {specs.ArchARM, specs.ArchAARCH64},
		"riscv64": {},
	} {
		if got := parse(t, Profile(architecture)).Architectures; !slices.Equal(got, want) {
			t.Errorf("%s: the profile is for %v, want %v", architecture, got, want)
		}
	}
}

// TestTheNameChangesWithTheContent fails for whoever changes the rules: pods that run keep the profile of the name before.
func TestTheNameChangesWithTheContent(t *testing.T) {
	const want = "imagecsi/sandbox-1b2be07f2aec.json"
	if got := Name(); got != want {
		t.Errorf("the profile's name is %s, want %s", got, want)
	}
	const page = "../../docs/sandboxes.md"
	if text, err := os.ReadFile(page); err != nil || !strings.Contains(string(text), "localhostProfile: "+want) {
		t.Errorf("%s does not name it (%v)", page, err)
	}
}

func parse(t *testing.T, profile []byte) specs.LinuxSeccomp {
	t.Helper()
	var out specs.LinuxSeccomp
	if err := json.Unmarshal(profile, &out); err != nil {
		t.Fatal(err)
	}
	return out
}
