package main

import (
	"archive/tar"
	"bytes"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// asContainer is a name of the tests' own program by which it makes itself the first process of what looks like a container: in namespaces
// that its parent made, with the processes in /proc that are there. It goes on as bash.
const asContainer = "container"

func TestMain(m *testing.M) {
	name := filepath.Base(os.Args[0])
	if name == asContainer {
		if os.Getpid() != 1 {
			os.Exit(1)
		}
		err := errors.Join(unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""), unix.Mount("proc", "/proc", "proc", 0, ""))
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		name = "bash"
	}
	if _, is := commands()[name]; is {
		os.Exit(run(name, os.Args[1:], streams{os.Stdin, os.Stdout, os.Stderr}))
	}
	os.Exit(m.Run())
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// container is a directory that has the image's commands, which are the tests' own program, and nothing else on its PATH.
type container struct{ commands, output string }

// newContainer has a program "gather" with a script, and leaves out some commands.
func newContainer(t *testing.T, gather string, without ...string) container {
	t.Helper()
	c := container{commands: t.TempDir(), output: t.TempDir()}
	program, err := os.Executable()
	must(t, err)
	for name := range commands() {
		must(t, os.Symlink(program, filepath.Join(c.commands, name)))
	}
	must(t, os.Symlink(program, filepath.Join(c.commands, asContainer)))
	for _, name := range without {
		must(t, os.Remove(filepath.Join(c.commands, name)))
	}
	c.program(t, "gather", gather)
	return c
}

// program adds a program that is a script.
func (c container) program(t *testing.T, name, script string) {
	t.Helper()
	must(t, os.WriteFile(filepath.Join(c.commands, name), []byte("#!"+filepath.Join(c.commands, "bash")+"\n"+script), 0o755))
}

func (c container) command(ctx context.Context, name string, args ...string) *exec.Cmd {
	command := exec.CommandContext(ctx, filepath.Join(c.commands, name), args...)
	command.Env = []string{"PATH=" + c.commands, "OUTPUT=" + c.output}
	return command
}

// runs runs a command to its end, within a bound, and returns all that it prints and its exit code.
func (c container) runs(t *testing.T, command *exec.Cmd) (string, int) {
	t.Helper()
	var out bytes.Buffer
	command.Stdout, command.Stderr = &out, &out
	command.WaitDelay = 200 * time.Millisecond
	err := command.Run()
	if ended, is := errors.AsType[*exec.ExitError](err); is {
		return out.String(), ended.ExitCode()
	}
	if !errors.Is(err, exec.ErrWaitDelay) { // a sleep that the script left
		must(t, err)
	}
	return out.String(), 0
}

// watcher is what oc starts in the background of a gather container: it ends what gathers when more than a limit of the volume is used.
// test/install reads the same file.
//
//go:embed testdata/watcher.sh
var watcherForm string

func watcher(dir string, limit int) string {
	return "\n" + strings.NewReplacer("DIRECTORY", dir, "LIMIT", strconv.Itoa(limit)).Replace(strings.TrimSuffix(watcherForm, "\n"))
}

// scripts are those of a gather container, as releases of oc make them.
func scripts(dir string, limit int) map[string]string {
	watch := watcher(dir, limit)
	return map[string]string{
		"oc 4.19":           eldest(dir, limit),
		"oc 4.20":           "HAVE_SESSION_TOOLS=true" + watch + " & setsid -w bash <<-MUSTGATHER_EOF\ngather\nMUSTGATHER_EOF\n" + written,
		"oc with fallbacks": newest(watch),
	}
}

const written = "sync && echo 'Caches written to disk'"

// eldest sums up the files, and ends what is called gather.
func eldest(dir string, limit int) string {
	return fmt.Sprintf(`
dir="%s"
limit="%d"
while true; do
files=$(du -s "$dir" | awk '{print $1}')
space=$(df -P "$dir" | awk 'NR==2 {print $2}')
used=$(( (files * 100) / space ))
echo "used: ${used} of ${limit}"
if [ "$used" -gt "$limit" ]; then
	echo "too much is used"
	pkill --signal SIGKILL gather
	exit 1
fi
sleep 5
done & gather; %s`, dir, limit, written)
}

func newest(watch string) string {
	return "if command -v setsid >/dev/null 2>&1 && command -v ps >/dev/null 2>&1 && command -v pkill >/dev/null 2>&1; then\n" +
		"  HAVE_SESSION_TOOLS=true\nelse\n  HAVE_SESSION_TOOLS=false\nfi\n\n" + watch +
		" & if [ \"$HAVE_SESSION_TOOLS\" = \"true\" ]; then\n  setsid -w bash <<-MUSTGATHER_EOF\ngather\nMUSTGATHER_EOF\n" +
		"else\n  gather\nfi; " + written
}

// (a second)
func TestTheScriptOfOCGathers(t *testing.T) {
	c := newContainer(t, "sleep 0.3; echo gathered > $OUTPUT/version")
	for name, script := range scripts(c.output, 100) {
		t.Run(name, func(t *testing.T) {
			said, code := c.runs(t, c.command(t.Context(), "bash", "-c", script))
			for _, want := range []string{" of 100\n", "Caches written to disk\n"} {
				if !strings.Contains(said, want) || strings.Contains(said, "used:  of") || code != 0 {
					t.Errorf("it ends with %d and prints %q, want %q", code, said, want)
				}
			}
			text, err := os.ReadFile(filepath.Join(c.output, "version"))
			if err != nil || string(text) != "gathered\n" {
				t.Errorf("it gathered %q: %v", text, err)
			}
			must(t, os.Remove(filepath.Join(c.output, "version")))
		})
	}
}

// (two seconds) The copy of what was gathered needs the script to end well.
func TestAFullVolumeEndsTheGathering(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("NOT PASSED: a container's first process needs root")
	}
	const gathering = "echo began; sleep 60; echo done"
	for name, script := range scripts(t.TempDir(), -1) {
		t.Run(name, func(t *testing.T) { endsEarly(t, newContainer(t, gathering), script) })
	}
	t.Run("without sessions", func(t *testing.T) { endsEarly(t, newContainer(t, gathering, "setsid"), newest(watcher("/", -1))) })
}

func endsEarly(t *testing.T, c container, script string) {
	t.Helper()
	// The watcher waits until the gathering began.
	command := c.command(t.Context(), asContainer, "-c", strings.Replace(script, "while true; do", "while sleep 0.5; do", 1))
	command.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWPID | unix.CLONE_NEWNS, Setsid: true}
	start := time.Now()
	said, code := c.runs(t, command)
	if code != 0 || !strings.HasPrefix(said, "began\n") || !strings.HasSuffix(said, "Caches written to disk\n") || strings.Contains(said, "done") {
		t.Errorf("it ends with %d and prints %q", code, said)
	}
	if took := time.Since(start); took > 30*time.Second {
		t.Errorf("it took %s", took)
	}
}

// The second container of oc's pod waits until it is ended.
func TestTheContainerThatWaitsEndsByASignal(t *testing.T) {
	c := newContainer(t, "")
	command := c.command(t.Context(), "bash", "-c", "trap : TERM INT; echo ready; sleep infinity & wait")
	out, err := command.StdoutPipe()
	must(t, err)
	must(t, command.Start())
	_, err = io.ReadFull(out, make([]byte, len("ready\n")))
	must(t, err)
	must(t, command.Process.Signal(unix.SIGTERM))
	if ended, is := errors.AsType[*exec.ExitError](command.Wait()); !is || ended.ExitCode() != ofSignal+int(unix.SIGTERM) {
		t.Errorf("it ends with %v", ended)
	}
}

func TestTheVolumeIsCopiedByTar(t *testing.T) {
	c := newContainer(t, "")
	must(t, os.MkdirAll(filepath.Join(c.output, "imagecsi", "logs"), 0o700))
	must(t, os.WriteFile(filepath.Join(c.output, "imagecsi", "logs", "a.log"), []byte("text"), 0o600))
	must(t, os.Symlink("imagecsi", filepath.Join(c.output, "link")))
	if said, code := c.runs(t, c.command(t.Context(), "tar", "--version")); code != 0 || !strings.HasPrefix(said, "tar ") {
		t.Errorf("tar --version ends with %d and prints %q", code, said)
	}
	packed, code := c.runs(t, c.command(t.Context(), "tar", "-C", c.output+"/", "-c", "."))
	var found []string
	for files := tar.NewReader(strings.NewReader(packed)); ; {
		header, err := files.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		must(t, err)
		content, err := io.ReadAll(files)
		must(t, err)
		found = append(found, strings.Join([]string{header.Name, header.Linkname, string(content)}, "|"))
	}
	if got, want := strings.Join(found, " "), "./|| imagecsi/|| imagecsi/logs/|| imagecsi/logs/a.log||text link|imagecsi|"; got != want || code != 0 {
		t.Errorf("it ends with %d and packs %q, want %q", code, got, want)
	}
	if said, code := c.runs(t, c.command(t.Context(), "tar", "-C", c.output, "-c", "absent")); code != 1 || !strings.Contains(said, "absent") {
		t.Errorf("of what is not there it ends with %d and says %q", code, said)
	}
}

func TestGatherWritesItsVersionAndTheBundle(t *testing.T) {
	script, err := os.ReadFile("gather")
	must(t, err)
	c := newContainer(t, string(script))
	c.program(t, "kubectl-imagecsi", `case "$*" in
"version -o name") echo version/v1.2.3 ;;
"support-bundle --dir $OUTPUT/imagecsi") mkdir $OUTPUT/imagecsi; exit 3 ;;
*) echo "called with $*" >&2; exit 2 ;;
esac`)
	if said, code := c.runs(t, c.command(t.Context(), "gather", c.output)); code != 3 || said != "" {
		t.Errorf("it ends with %d and prints %q, want the code of the bundle", code, said)
	}
	text, err := os.ReadFile(filepath.Join(c.output, "version"))
	if err != nil || string(text) != "image-csi-operator/must-gather\nv1.2.3\n" {
		t.Errorf("the file version has %q: %v", text, err)
	}
}

func TestShell(t *testing.T) {
	c := newContainer(t, "")
	file := filepath.Join(c.output, "script")
	must(t, os.WriteFile(file, []byte("echo $1-$2; exit 4"), 0o600))
	for _, test := range []struct {
		name, stdin string
		args        []string
		want        string
		code        int
	}{
		{name: "a script and its arguments", args: []string{"-c", "echo $1 $#", "bash", "a b", "c"}, want: "a b 2\n"},
		{name: "options", args: []string{"-ceuo", "pipefail", "false | true; echo on"}, code: 1},
		{name: "a file and its arguments", args: []string{file, "a", "b"}, want: "a-b\n", code: 4},
		{name: "the standard input", stdin: "echo -n '' > $OUTPUT/new && cat $OUTPUT/new && rm $OUTPUT/new\nls $OUTPUT", want: "script\n"},
		{name: "no file", args: []string{"/absent"}, want: "open /absent: no such file or directory\n", code: 127},
		{name: "no command", args: []string{"-c", "rsync --version"}, want: `"rsync": executable file not found in $PATH` + "\n", code: 127},
		{name: "no script", args: []string{"-c"}, want: "bash: -c needs a script\n", code: 1},
		{name: "no option", args: []string{"--posix"}, want: "bash: option --posix is not known\n", code: 1},
		{name: "no signal", args: []string{"-c", "kill -NONE 1 || trap : NONE || kill x || kill || trap ls TERM"}, code: 1,
			want: "kill: \"NONE\" is no signal\ntrap: \"NONE\" is no signal\nkill: \"x\" is no number of a process\nkill: name a process\n" +
				"trap: the action \"ls\" is not known for a signal, only the colon\n"},
		{name: "no process", args: []string{"-c", "kill -s 0 999999999"}, want: "kill: \"0\" is no signal\n", code: 1},
		{name: "its own end", args: []string{"-c", "kill -KILL $$"}, code: -1},
		{name: "the exit of what it runs", args: []string{"-c", "setsid -w sh -c 'exit 5'"}, code: 5},
		{name: "the signal that ends what it runs", args: []string{"-c", "setsid -w sh -c 'kill -9 $$'"}, code: 137},
		{name: "an action at its end", args: []string{"-c", "trap 'echo end' EXIT; echo on"}, want: "on\nend\n"},
	} {
		t.Run(test.name, func(t *testing.T) {
			command := c.command(t.Context(), "bash", test.args...)
			command.Stdin = strings.NewReader(test.stdin)
			if said, code := c.runs(t, command); said != test.want || code != test.code {
				t.Errorf("it ends with %d and prints %q, want %d and %q", code, said, test.code, test.want)
			}
		})
	}
}

func TestCommands(t *testing.T) {
	const lines = "b  1 x\na 2\nb  1 x\n"
	for _, test := range []struct {
		name string
		args []string
		want string
		code int
	}{
		{"awk", []string{"NR==2 {print $2}"}, "2\n", 0},
		{"awk", []string{"{ print $3, $0 }"}, "x b  1 x\n a 2\nx b  1 x\n", 0},
		{"awk", []string{"END {print NR}"}, "", 1},
		{"awk", []string{"{print $1}", "file"}, "", 1},
		{"sed", []string{"s/ /-/"}, "b- 1 x\na-2\nb- 1 x\n", 0},
		{"sed", []string{"s/b/c%/g"}, "c%  1 x\na 2\nc%  1 x\n", 0},
		{"sed", []string{"s/^b/c/"}, "", 1},
		{"sed", []string{"-n", "p"}, "", 1},
		{"sort", nil, "a 2\nb  1 x\nb  1 x\n", 0},
		{"sort", []string{"-u"}, "a 2\nb  1 x\n", 0},
		{"sort", []string{"file"}, "", 1},
		{"sleep", []string{"0"}, "", 0},
		{"sleep", []string{"1ms"}, "", 0},
		{"sleep", []string{"a"}, "", 1},
		{"sleep", nil, "", 1},
		{"df", []string{"-P", "/absent"}, "Filesystem 1024-blocks Used Available Capacity Mounted on\n", 1},
		{"df", nil, "", 1},
		{"du", []string{"-s", "/absent"}, "", 1},
		{"du", []string{"-s"}, "", 1},
		{"sync", []string{"file"}, "", 1},
		{"tar", []string{"-x"}, "", 1},
		{"ps", []string{"-o", "user"}, "USER\n", 1},
		{"pkill", nil, "", 1},
		{"pkill", []string{"--session", "1", "bash"}, "", 1},
		{"pkill", []string{"--signal", "KILL", "--session", "999999999"}, "", 1},
		{"setsid", nil, "", 1},
		{"grep", nil, "", notFound},
	} {
		t.Run(test.name+" "+strings.Join(test.args, " "), func(t *testing.T) {
			var out, said bytes.Buffer
			code := run(test.name, test.args, streams{strings.NewReader(lines), &out, &said})
			if out.String() != test.want || code != test.code {
				t.Errorf("it ends with %d, prints %q and says %q, want %d and %q", code, out.String(), said.String(), test.code, test.want)
			}
		})
	}
}

// hack/image links these names to the program. Shells are where oc calls them.
func TestTheImageHasALinkForEachCommand(t *testing.T) {
	text, err := os.ReadFile("links")
	must(t, err)
	var want []string
	for name := range commands() {
		dir := "/usr/bin/"
		if name == "bash" || name == "sh" {
			dir = "/bin/"
		}
		want = append(want, dir+name)
	}
	slices.Sort(want)
	if got := strings.Fields(string(text)); !slices.Equal(got, want) {
		t.Errorf("links has %q, want %q", got, want)
	}
}

func TestUsageIsRoundedUp(t *testing.T) {
	for _, test := range []struct {
		blocks, free, available uint64
		want                    string
	}{
		{1000, 1000, 1000, "- 4000 0 4000 0% /d"},
		{1000, 699, 600, "- 4000 1204 2400 34% /d"}, // 301 of 901
		{1000, 50, 0, "- 4000 3800 0 100% /d"},
		{0, 0, 0, "- 0 0 0 0% /d"},
	} {
		if got := usage("/d", 4096, test.blocks, test.free, test.available); got != test.want {
			t.Errorf("usage of %+v is %q", test, got)
		}
	}
}

func TestPsListsThisProcess(t *testing.T) {
	var out bytes.Buffer
	if code := run("ps", nil, streams{nil, &out, io.Discard}); code != 0 {
		t.Fatal(code)
	}
	session, err := unix.Getsid(0)
	must(t, err)
	if want := fmt.Sprintf("\n%d %d ", os.Getpid(), session); !strings.HasPrefix(out.String(), "PID SESS COMM\n") || !strings.Contains(out.String(), want) {
		t.Errorf("it prints %s, want %q", out.String(), want)
	}
}
