package credentialprovider

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/image-csi/image-csi-operator/internal/credentialprovider/api"
)

// program is the provider that the tests run; see testdata/provider.
var program string

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "provider")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	program = filepath.Join(dir, "provider")
	if out, err := exec.Command("go", "build", "-o", program, "./testdata/provider").CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "build the test's provider: %v\n%s", err, out)
		return 1
	}
	return m.Run()
}

// entry is a provider of a configuration. It serves every host of two names, and everything else may be overridden.
type entry struct {
	name, match, cache, tokens string
	args                       []string
}

func (e entry) yaml() string {
	match, duration := e.match, e.cache
	if match == "" {
		match = "*.*"
	}
	if duration == "" {
		duration = "1h"
	}
	text := fmt.Sprintf("- name: %s\n  matchImages: [%q]\n  defaultCacheDuration: %s\n  apiVersion: %s\n  env: [{name: TEST_VARIABLE, value: set}]\n", e.name, match, duration, requestV1)
	if e.tokens != "" {
		text += "  tokenAttributes: {" + e.tokens + "}\n"
	}
	text += "  args:\n"
	for _, argument := range e.args {
		text += fmt.Sprintf("  - %q\n", argument)
	}
	return text
}

// node is a node's directory of programs, its configuration and the log of its providers' container.
type node struct {
	*Providers
	dir string
	log bytes.Buffer
}

func newNode(t *testing.T, entries ...entry) *node {
	t.Helper()
	n := &node{dir: t.TempDir()}
	n.Providers = New(Config{Path: filepath.Join(n.dir, "config.yaml"), BinDir: n.dir, Logger: slog.New(slog.NewJSONHandler(&n.log, nil))})
	n.configure(t, entries...)
	return n
}

func (n *node) configure(t *testing.T, entries ...entry) {
	t.Helper()
	text := "apiVersion: kubelet.config.k8s.io/v1\nkind: CredentialProviderConfig\nproviders:\n"
	for _, e := range entries {
		text += e.yaml()
		if err := os.Symlink(program, filepath.Join(n.dir, e.name)); err != nil && !os.IsExist(err) {
			t.Fatal(err)
		}
	}
	write(t, filepath.Join(n.dir, "config.yaml"), text)
}

// asked are the requests that a program with "log=" noted.
func (n *node) asked(t *testing.T) []string {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(n.dir, "asked"))
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	return strings.FieldsFunc(string(content), func(r rune) bool { return r == '\n' })
}

func (n *node) note() string { return "log=" + filepath.Join(n.dir, "asked") }

// give asks and returns the passwords and problems.
func (n *node) give(t *testing.T, q api.Question) (passwords, problems string) {
	t.Helper()
	a := n.Answer(t.Context(), q)
	var all []string
	for _, auth := range a.Auths {
		all = append(all, auth.Password)
	}
	return strings.Join(all, " "), strings.Join(a.Problems, "; ")
}

func TestEveryMatchingProviderIsAskedInTheKubeletsWay(t *testing.T) {
	n := newNode(t)
	n.configure(t,
		entry{name: "first", args: []string{n.note(), "answer=" + response("Image", auths("r.example", "*.example"))}},
		entry{name: "second", match: "r.example/team", args: []string{"answer=" + response("Image", auths("r.example/team"))}},
		entry{name: "elsewhere", match: "other.example", args: []string{"exit=1"}},
	)
	for image, want := range map[string]string{
		"r.example/team/app": "r.example/team r.example *.example",
		"r.example/app":      "r.example *.example",
		"a.b.example/app":    "",
	} {
		if got, problems := n.give(t, api.Question{Image: image}); got != want || problems != "" {
			t.Errorf("%s: got %q (%s), want %q", image, got, problems, want)
		}
	}
	if got := n.asked(t); len(got) != 2 || !strings.HasPrefix(got[0], requestV1+" r.example/") || !strings.HasSuffix(got[0], " set") {
		t.Errorf("requests %q", got)
	}
}

func TestAProviderThatFailsIsAProblemAndNoObstacle(t *testing.T) {
	const token = "eyJ.secret.token"
	tests := map[string]struct {
		args []string
		want string
	}{
		"fails":          {[]string{"complain=no access with TOKEN", "exit=3"}, "it ended with exit status 3; the log of this container says more"},
		"says nothing":   {nil, "not JSON"},
		"says too much":  {[]string{"flood=2000000"}, "its answer is larger than 1048576 bytes"},
		"never answers":  {[]string{"sleep=1h"}, "it did not answer within"},
		"gives the same": {[]string{"answer=" + response("Image", `,"auth":{"r.example":{"username":"u","password":"TOKEN"}}`)}, "needs cacheType Token"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			n := newNode(t,
				entry{name: "bad", args: tt.args, tokens: "serviceAccountTokenAudience: a, cacheType: ServiceAccount, requireServiceAccount: true"},
				entry{name: "good", args: []string{"answer=" + response("Image", auths("r.example"))}})
			if name == "never answers" {
				n.programs.timeout = 3 * time.Second // enough for the good one on a machine that is busy
			}
			got, problems := n.give(t, api.Question{Image: "r.example/app", Tokens: map[string]string{"a": token}, ServiceAccount: "ns/app/1"})
			if got != "r.example" || !strings.HasPrefix(problems, "credential provider bad: ") || !strings.Contains(problems, tt.want) {
				t.Errorf("got %q, problems %q, want %q", got, problems, tt.want)
			}
			if strings.Contains(problems+n.log.String(), token) {
				t.Errorf("the token is revealed: %s\n%s", problems, n.log.String())
			}
			if name == "fails" && (!strings.Contains(n.log.String(), "no access with [token]") || strings.Contains(problems, "no access")) {
				t.Errorf("the program's complaint belongs into the log only: %s\n%s", problems, n.log.String())
			}
		})
	}
}

func TestWhatAProgramStartedEndsWithIt(t *testing.T) {
	for name, args := range map[string][]string{
		"child ends well":     {"answer=" + response("Image", auths("r.example"))},
		"child ends badly":    {"exit=3"},
		"child never answers": {"sleep=1h"},
		"stray ends well":     {"answer=" + response("Image", auths("r.example"))},
		"stray never answers": {"sleep=1h"},
	} {
		t.Run(name, func(t *testing.T) {
			noted := filepath.Join(t.TempDir(), "pid")
			n := newNode(t, entry{name: "one", args: append([]string{name[:len("child")] + "=" + noted}, args...)})
			n.programs.timeout = 2 * time.Second
			began := time.Now()
			got, problems := n.give(t, api.Question{Image: "r.example/app"})
			if took := time.Since(began); strings.HasSuffix(name, "ends well") != (got == "r.example") || took > n.programs.timeout+exitDelay {
				t.Errorf("got %q, problems %q, after %s", got, problems, took)
			}
			pid, err := os.ReadFile(noted)
			if err != nil {
				t.Fatal(err)
			}
			for range 500 {
				// One that has ended and is not waited for has no command line (proc_pid_cmdline(5)).
				if line, err := os.ReadFile(filepath.Join("/proc", string(pid), "cmdline")); err != nil || len(line) == 0 {
					return
				}
				time.Sleep(10 * time.Millisecond)
			}
			t.Errorf("process %s still runs", pid)
		})
	}
}

func TestAProgramThatIsMissingOrNotExecutableIsExplained(t *testing.T) {
	n := newNode(t, entry{name: "gone"}, entry{name: "closed"})
	if err := os.Remove(filepath.Join(n.dir, "gone")); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(n.dir, "closed")); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(n.dir, "closed"), "#!/nowhere\n")
	_, problems := n.give(t, api.Question{Image: "r.example/app"})
	if !strings.Contains(problems, "gone: it is not in the directory of providers") || !strings.Contains(problems, "closed: it may not be executed") {
		t.Errorf("problems %q", problems)
	}
}

func TestABadConfigurationIsSaidToWhoeverAsks(t *testing.T) {
	n := newNode(t, entry{name: "one", args: []string{"answer=" + response("Image", auths("r.example"))}})
	write(t, filepath.Join(n.dir, "config.yaml"), "{")
	if got, problems := n.give(t, api.Question{Image: "r.example/app"}); got != "" || !strings.Contains(problems, "config.yaml") || n.Check() == nil {
		t.Errorf("got %q, %q", got, problems)
	}
	n.configure(t, entry{name: "one", args: []string{"answer=" + response("Image", auths("r.example"))}})
	if got, problems := n.give(t, api.Question{Image: "r.example/app"}); got != "r.example" || problems != "" {
		t.Errorf("after the repair: got %q, %q", got, problems)
	}
}

func TestAnswersAreKeptForTheImagesAndTheTimeThatTheyName(t *testing.T) {
	images := []string{"r.example/a", "r.example/a", "r.example/b", "s.example/c"}
	for name, tt := range map[string]struct {
		cacheKeyType, during string
		byDefault            string
		want                 int // runs for these images
	}{
		"by image":             {cacheKeyType: "Image", want: 3},
		"by registry":          {cacheKeyType: "Registry", want: 2},
		"for all":              {cacheKeyType: "Global", want: 1},
		"not at all":           {cacheKeyType: "Global", during: `,"cacheDuration":"0s"`, want: 4},
		"by default not":       {cacheKeyType: "Global", byDefault: "0s", want: 4},
		"longer than default":  {cacheKeyType: "Global", byDefault: "0s", during: `,"cacheDuration":"1h"`, want: 1},
		"an empty answer, too": {cacheKeyType: "Image", during: `,"auth":null`, want: 3},
	} {
		t.Run(name, func(t *testing.T) {
			n := newNode(t)
			n.configure(t, entry{name: "one", cache: tt.byDefault, args: []string{n.note(), "answer=" + response(tt.cacheKeyType, tt.during)}})
			for _, image := range images {
				if _, problems := n.give(t, api.Question{Image: image}); problems != "" {
					t.Error(problems)
				}
			}
			if got := len(n.asked(t)); got != tt.want {
				t.Errorf("the program ran %d times, want %d", got, tt.want)
			}
		})
	}
}

func TestKeptAnswersExpireAndAreBounded(t *testing.T) {
	now := time.Unix(0, 0)
	c := newCache(func() time.Time { return now })
	var nobody cacheKey
	key := func(image string) cacheKey { return cacheKey{images: image} }
	for i := range 2 * maxCached {
		c.put(key(fmt.Sprint(i)), nil, time.Duration(i+1)*time.Second)
	}
	if len(c.answers) != maxCached {
		t.Errorf("%d answers are kept, want %d", len(c.answers), maxCached)
	}
	last := fmt.Sprint(2*maxCached - 1)
	if _, ok := c.get(nobody.provider, nobody.holder, last); !ok {
		t.Error("the answer that lasts longest is gone")
	}
	now = now.Add(time.Hour)
	if _, ok := c.get(nobody.provider, nobody.holder, last); ok {
		t.Error("an answer that expired is given")
	}
	c.put(key("new"), nil, time.Second)
	if len(c.answers) != 1 {
		t.Errorf("%d answers are kept, want one", len(c.answers))
	}
}

func TestAChangeOfAProviderCountsAtOnce(t *testing.T) {
	n := newNode(t, entry{name: "one", args: []string{"answer=" + response("Global", auths("r.example"))}})
	n.give(t, api.Question{Image: "r.example/app"})
	n.configure(t, entry{name: "one", args: []string{"answer=" + response("Global", auths("r.example/app"))}})
	if got, _ := n.give(t, api.Question{Image: "r.example/app"}); got != "r.example/app" {
		t.Errorf("got %q from before the change", got)
	}
}

func TestATokenIsForItsProviderAndItsAnswerForItsHolder(t *testing.T) {
	question := func(token, account string) api.Question {
		return api.Question{Image: "r.example/app", Tokens: map[string]string{"aud": token, "other": "another"}, ServiceAccount: account}
	}
	questions := []api.Question{question("t1", "ns/a/1"), question("t2", "ns/a/1"), question("t2", "ns/a/1"), question("t3", "ns/b/2")}
	for cacheType, want := range map[string]string{"ServiceAccount": "t1 t3", "Token": "t1 t2 t3"} {
		n := newNode(t)
		n.configure(t, entry{name: "one", args: []string{n.note(), "answer=" + response("Global", "")},
			tokens: "serviceAccountTokenAudience: aud, requireServiceAccount: true, cacheType: " + cacheType})
		for _, q := range questions {
			if _, problems := n.give(t, q); problems != "" {
				t.Error(problems)
			}
		}
		var tokens []string
		for _, line := range n.asked(t) {
			tokens = append(tokens, strings.Fields(line)[2])
		}
		if got := strings.Join(tokens, " "); got != want {
			t.Errorf("%s: the program saw the tokens %q, want %q", cacheType, got, want)
		}
	}
}

func TestAProviderThatNeedsATokenSaysSoAndOneThatCanDoWithoutRuns(t *testing.T) {
	n := newNode(t)
	tokens := "serviceAccountTokenAudience: aud, cacheType: Token, requireServiceAccount: "
	n.configure(t,
		entry{name: "must", args: []string{"exit=1"}, tokens: tokens + "true"},
		entry{name: "may", args: []string{"answer=" + response("Image", auths("r.example"))}, tokens: tokens + "false"})
	got, problems := n.give(t, api.Question{Image: "r.example/app", Tokens: map[string]string{"another": "t"}})
	if got != "r.example" || !strings.Contains(problems, `credential provider must: it needs the pod's service account token for the audience "aud"`) {
		t.Errorf("got %q, %q", got, problems)
	}
}

func TestOneRunServesAllWhoAskAtOnceAlsoIfTheFirstGoesAway(t *testing.T) {
	n := newNode(t)
	n.configure(t, entry{name: "one", args: []string{n.note(), "sleep=500ms", "answer=" + response("Image", auths("r.example"))}})
	gone, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if a := n.Answer(gone, api.Question{Image: "r.example/app"}); len(a.Auths) != 0 || len(a.Problems) != 1 {
		t.Errorf("who goes away gets %+v", a)
	}
	var asking sync.WaitGroup
	for range 10 {
		asking.Go(func() {
			if got, problems := n.give(t, api.Question{Image: "r.example/app"}); got != "r.example" {
				t.Errorf("got %q, %q", got, problems)
			}
		})
	}
	asking.Wait()
	if got := len(n.asked(t)); got != 1 {
		t.Errorf("the program ran %d times", got)
	}
}
