package access

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

const repository = "r.example/team/app"

var (
	alice = &runtimeapi.AuthConfig{Username: "alice", Password: "hunter2"}
	bob   = &runtimeapi.AuthConfig{Username: "bob", Password: "hunter2"}
)

func open(t *testing.T, dir string) *Records {
	t.Helper()
	r, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func granted(t *testing.T, r *Records, auth *runtimeapi.AuthConfig) {
	t.Helper()
	if err := r.Grant(repository, auth); err != nil {
		t.Fatal(err)
	}
}

func verdict(t *testing.T, r *Records, want Verdict, auths ...*runtimeapi.AuthConfig) {
	t.Helper()
	if got := r.Verdict(repository, auths); got != want {
		t.Errorf("verdict %d, want %d", got, want)
	}
}

func TestOnlyProvenCredentialsOpenARepository(t *testing.T) {
	dir := t.TempDir()
	r := open(t, dir)
	verdict(t, r, Unknown, alice)
	granted(t, r, alice)
	for _, r := range []*Records{r, open(t, dir)} { // and after a restart
		verdict(t, r, Proven, alice)
		verdict(t, r, Proven, bob, alice)
		verdict(t, r, Unproven, bob)
		verdict(t, r, Unproven)
		verdict(t, r, Unproven, &runtimeapi.AuthConfig{Username: "alice", Password: "guess"})
	}
	granted(t, r, bob)
	verdict(t, r, Proven, alice)
	verdict(t, r, Proven, bob)
	granted(t, r, nil)
	verdict(t, r, Proven)
}

func TestAKilledPullLeavesNothingOpen(t *testing.T) {
	dir := t.TempDir()
	if _, err := open(t, dir).Begin(repository); err != nil {
		t.Fatal(err)
	}
	verdict(t, open(t, dir), Unproven, alice)
}

func TestAPullThatBroughtNothingLeavesNoRecord(t *testing.T) {
	r := open(t, t.TempDir())
	first, err := r.Begin(repository)
	if err != nil {
		t.Fatal(err)
	}
	second, err := r.Begin(repository)
	if err != nil {
		t.Fatal(err)
	}
	first(true)
	verdict(t, r, Unproven)
	granted(t, r, alice)
	second(false)
	verdict(t, r, Proven, alice)

	other := open(t, t.TempDir())
	end, err := other.Begin(repository)
	if err != nil {
		t.Fatal(err)
	}
	end(true)
	verdict(t, other, Unknown)
}

func TestRecordsHoldNoCredentials(t *testing.T) {
	dir := t.TempDir()
	granted(t, open(t, dir), alice)
	files, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil || len(files) != 2 {
		t.Fatalf("files %q (%v), want the key and one record", files, err)
	}
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(content), "hunter2") || strings.Contains(string(content), "alice") {
			t.Errorf("%s tells the credentials: %s", file, content)
		}
		if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %v (%v)", file, info.Mode(), err)
		}
	}
}

func TestTheSameCredentialsHaveOtherHashesElsewhere(t *testing.T) {
	one, other := open(t, t.TempDir()), open(t, t.TempDir())
	hashes := []string{one.hash(repository, alice), one.hash("r.example/other", alice), other.hash(repository, alice)}
	if hashes[0] == hashes[1] || hashes[0] == hashes[2] {
		t.Errorf("hashes can be linked: %q", hashes)
	}
}

func TestADamagedRecordProvesNothingAndHealsWithTheNextProof(t *testing.T) {
	r := open(t, t.TempDir())
	granted(t, r, nil)
	if err := os.WriteFile(r.file(repository), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	verdict(t, r, Unproven, alice)
	granted(t, r, alice)
	verdict(t, r, Proven, alice)
}

func TestPruneDropsOnlyWhatLeftTheNode(t *testing.T) {
	r := open(t, t.TempDir())
	granted(t, r, alice)
	prune := func(held ...string) {
		t.Helper()
		err := r.Prune(func() (map[string]bool, error) {
			repositories := map[string]bool{}
			for _, name := range held {
				repositories[name] = true
			}
			return repositories, nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	prune()
	verdict(t, r, Proven, alice)
	prune(repository, "r.example/other")
	verdict(t, r, Proven, alice)

	end, err := r.Begin("r.example/other")
	if err != nil {
		t.Fatal(err)
	}
	prune("r.example/other")
	verdict(t, r, Proven, alice)
	end(false)

	prune("r.example/other")
	verdict(t, r, Unknown, alice)
}

func TestPruneSparesWhatIsGrantedMeanwhile(t *testing.T) {
	r := open(t, t.TempDir())
	granted(t, r, alice)
	err := r.Prune(func() (map[string]bool, error) {
		granted(t, r, bob)
		return map[string]bool{"r.example/other": true}, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	verdict(t, r, Proven, alice)
}

func TestARecordIsBounded(t *testing.T) {
	r := open(t, t.TempDir())
	for i := range maxHashes + 5 {
		granted(t, r, &runtimeapi.AuthConfig{Username: strings.Repeat("u", i+1)})
	}
	found, err := r.read(repository)
	if err != nil || len(found.Hashes) != maxHashes {
		t.Errorf("%d hashes (%v)", len(found.Hashes), err)
	}
	verdict(t, r, Unproven, &runtimeapi.AuthConfig{Username: "u"})
}
