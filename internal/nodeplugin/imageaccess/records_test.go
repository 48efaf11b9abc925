package imageaccess

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

const (
	repository = "r.example/team/app"
	one        = "sha256:1111"
	two        = "sha256:2222"
)

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

func granted(t *testing.T, r *Records, auth *runtimeapi.AuthConfig, digests ...string) {
	t.Helper()
	if len(digests) == 0 {
		digests = []string{one}
	}
	if err := r.Grant(repository, digests, "", auth); err != nil {
		t.Fatal(err)
	}
}

func verdict(t *testing.T, r *Records, want Verdict, auths ...*runtimeapi.AuthConfig) {
	t.Helper()
	verdictOn(t, r, one, want, auths...)
}

func verdictOn(t *testing.T, r *Records, digest string, want Verdict, auths ...*runtimeapi.AuthConfig) {
	t.Helper()
	if got := r.Verdict(Image{repository, digest}, Caller{Auths: auths}); got != want {
		t.Errorf("verdict %d on %q, want %d", got, digest, want)
	}
}

func begun(t *testing.T, r *Records, held ...string) *Pull {
	t.Helper()
	pull, err := r.Begin(repository, held)
	if err != nil {
		t.Fatal(err)
	}
	return pull
}

func prune(t *testing.T, r *Records, held map[string][]string) {
	t.Helper()
	if err := r.Prune(func() (map[string][]string, error) { return held, nil }); err != nil {
		t.Fatal(err)
	}
}

func TestOnlyProvenCredentialsOpenAnImage(t *testing.T) {
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

func TestAProofIsAboutOneImageOfARepository(t *testing.T) {
	r := open(t, t.TempDir())
	granted(t, r, nil, one)
	granted(t, r, alice, two)
	verdictOn(t, r, one, Proven)
	verdictOn(t, r, two, Unproven)
	verdictOn(t, r, two, Unproven, bob)
	verdictOn(t, r, two, Proven, alice)
	verdictOn(t, r, "", Unproven, alice) // which of them it is, is not known
	verdictOn(t, r, "sha256:3333", Unknown)
}

func TestARefusalTakesAProofBack(t *testing.T) {
	r := open(t, t.TempDir())
	granted(t, r, alice, one, two)
	granted(t, r, bob, one)
	granted(t, r, nil, two)
	for _, refused := range []*runtimeapi.AuthConfig{alice, nil} {
		if err := r.Refuse(repository, "", refused); err != nil {
			t.Fatal(err)
		}
	}
	for _, digest := range []string{one, two} {
		verdictOn(t, r, digest, Unproven, alice)
		verdictOn(t, r, digest, Unproven)
	}
	verdictOn(t, r, one, Proven, bob)
	if err := r.Refuse("r.example/none", "", alice); err != nil {
		t.Error(err)
	}
}

func TestAProofCountsInItsScope(t *testing.T) {
	r := open(t, t.TempDir())
	in := func(scope string, auths ...*runtimeapi.AuthConfig) Verdict {
		return r.Verdict(Image{repository, one}, Caller{Scope: scope, Auths: auths})
	}
	grant := func(scope string, auth *runtimeapi.AuthConfig) {
		t.Helper()
		if err := r.Grant(repository, []string{one}, scope, auth); err != nil {
			t.Fatal(err)
		}
	}
	grant("red", nil)
	grant("blue", alice)
	if in("red") != Proven || in("blue") != Unproven || in("blue", alice) != Proven || in("", alice) != Unproven || in("green", alice) != Unproven {
		t.Error("a proof counts elsewhere")
	}
	if !r.Given(Image{repository, one}, "red") || r.Given(Image{repository, one}, "green") || r.Given(Image{repository, two}, "red") {
		t.Error("the wrong scopes were given the image")
	}
	// Without credentials the answer is the scope's own; credentials are the same everywhere.
	if err := r.Refuse(repository, "blue", nil); err != nil || in("red") != Proven {
		t.Error("the refusal of one scope counts in another", err)
	}
	if err := r.Refuse(repository, "green", alice); err != nil || in("blue", alice) != Unproven {
		t.Error("refused credentials open the image in another scope", err)
	}
	if err := r.Distrust(repository, "red"); err != nil || in("red") != Unproven {
		t.Error("a scope whose policy refuses the image has it", err)
	}
}

func TestAKilledPullLeavesNothingOpenAndClosesNothingThatWasThere(t *testing.T) {
	dir := t.TempDir()
	begun(t, open(t, dir), one)
	r := open(t, dir)
	verdictOn(t, r, one, Unknown, alice)
	verdictOn(t, r, two, Unproven, alice)

	begun(t, r) // an image may have gone and come back meanwhile
	verdictOn(t, r, one, Unproven, alice)
}

func TestAPullThatFailedClosesNothing(t *testing.T) {
	r := open(t, t.TempDir())
	first, second := begun(t, r, one), begun(t, r, one)
	first.Failed([]string{one})
	verdictOn(t, r, two, Unproven) // the other may have brought it
	granted(t, r, alice, two)
	second.Brought()
	verdictOn(t, r, one, Unknown)
	verdictOn(t, r, two, Proven, alice)

	other := open(t, t.TempDir())
	begun(t, other, one).Failed([]string{one, two}) // it brought something all the same
	verdictOn(t, other, one, Unknown)
	verdictOn(t, other, two, Unproven)
	verdictOn(t, other, "sha256:3333", Unknown)
}

func TestAPullWithoutAnAnswerClosesWhatCameUntilItHasCertainlyEnded(t *testing.T) {
	r := open(t, t.TempDir())
	now := time.Now()
	r.now = func() time.Time { return now }
	begun(t, r, one).Unanswered()
	held := map[string][]string{repository: {one, two}}
	prune(t, r, held)
	verdictOn(t, r, one, Unknown)
	verdictOn(t, r, two, Unproven)
	verdictOn(t, r, "sha256:3333", Unproven)
	prune(t, r, map[string][]string{"r.example/other": {one}}) // it may come yet
	verdictOn(t, r, two, Unproven)

	now = now.Add(settleAfter + time.Second)
	begun(t, r, one, two).Failed([]string{one, two}) // another try keeps nothing closed for longer
	prune(t, r, held)
	verdictOn(t, r, one, Unknown)
	verdictOn(t, r, two, Unproven)
	verdictOn(t, r, "sha256:3333", Unknown)
}

func TestRecordsOfEarlierReleasesOpenNothing(t *testing.T) {
	for _, content := range []string{
		`{"repository":"r.example/team/app","anyone":true}`,
		`{"repository":"r.example/team/app","hashes":["` + strings.Repeat("00", 32) + `"]}`,
		`{"repository":"r.example/team/app"}`,
		`{"version":3,"repository":"r.example/team/app","opens":"everything"}`,
	} {
		r := open(t, t.TempDir())
		if err := os.WriteFile(r.file(repository), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		verdict(t, r, Unproven, alice)
		verdict(t, r, Unproven)
		granted(t, r, alice)
		verdict(t, r, Proven, alice)
		verdictOn(t, r, two, Unproven)
	}

	// What the node holds by the next clean-up stays closed, and what comes after that is judged like anything else.
	r := open(t, t.TempDir())
	if err := os.WriteFile(r.file(repository), []byte(`{"repository":"r.example/team/app","anyone":true}`), 0o600); err != nil {
		t.Fatal(err)
	}
	prune(t, r, map[string][]string{repository: {one}})
	verdictOn(t, r, one, Unproven)
	verdictOn(t, r, two, Unknown)
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
			t.Errorf("%s contains the credentials: %s", file, content)
		}
		if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %v (%v)", file, info.Mode(), err)
		}
	}
}

func TestTheSameCredentialsHaveOtherHashesElsewhere(t *testing.T) {
	here, other := open(t, t.TempDir()), open(t, t.TempDir())
	hashes := []string{here.hash(repository, alice), here.hash("r.example/other", alice), other.hash(repository, alice)}
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

func TestWhatAKilledProcessHadNotReplacedGoesWithTheNextStart(t *testing.T) {
	dir := t.TempDir()
	r := open(t, dir)
	granted(t, r, alice)
	for _, file := range []string{r.file(repository), filepath.Join(dir, keyFile)} {
		if err := os.WriteFile(file+draftSuffix, []byte("half"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	r = open(t, dir)
	verdict(t, r, Proven, alice)
	if left, err := filepath.Glob(filepath.Join(dir, "*"+draftSuffix)); err != nil || len(left) > 0 {
		t.Errorf("left: %v (%v)", left, err)
	}
}

func TestPruneDropsOnlyWhatLeftTheNode(t *testing.T) {
	r := open(t, t.TempDir())
	granted(t, r, alice, one, two)
	prune(t, r, nil)
	prune(t, r, map[string][]string{repository: {one, ""}}) // which may be the other one
	verdictOn(t, r, two, Proven, alice)
	prune(t, r, map[string][]string{repository: {one}, "r.example/other": {two}})
	verdictOn(t, r, one, Proven, alice)
	verdictOn(t, r, two, Unknown, alice)

	pull := begun(t, r, one)
	prune(t, r, map[string][]string{"r.example/other": {two}})
	verdictOn(t, r, one, Proven, alice)
	pull.Failed([]string{one})

	prune(t, r, map[string][]string{"r.example/other": {two}})
	verdictOn(t, r, one, Unknown, alice)
	if files, err := filepath.Glob(filepath.Join(r.dir, "*"+extension)); err != nil || len(files) != 0 {
		t.Errorf("files are left: %q (%v)", files, err)
	}
}

func TestPruneSparesWhatIsGrantedMeanwhile(t *testing.T) {
	r := open(t, t.TempDir())
	granted(t, r, alice)
	err := r.Prune(func() (map[string][]string, error) {
		granted(t, r, bob)
		return map[string][]string{"r.example/other": {one}}, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	verdict(t, r, Proven, alice)
}

func TestARecordIsBounded(t *testing.T) {
	r := open(t, t.TempDir())
	full := record{Version: version, Repository: repository, Images: map[string][]grant{}}
	for i := range maxGrants {
		full.add(one, grant{Hash: fmt.Sprint(i)})
	}
	for i := range maxImages - 1 {
		full.add(fmt.Sprintf("sha256:%d", i), grant{Hash: "another's"})
	}
	if err := r.write(full); err != nil {
		t.Fatal(err)
	}
	granted(t, r, alice, one, "sha256:more")
	found, err := r.read(repository)
	if err != nil || len(found.Images) != maxImages {
		t.Errorf("%d images (%v)", len(found.Images), err)
	}
	if grants := found.Images[one]; len(grants) > maxGrants || slices.Contains(grants, grant{Hash: "0"}) {
		t.Errorf("%d grants", len(grants))
	}
	verdictOn(t, r, "sha256:more", Unproven)
	for i := range maxImages { // what fell out is not open to all
		if got := found.Images[fmt.Sprintf("sha256:%d", i)]; got == nil && !found.closes(fmt.Sprintf("sha256:%d", i)) {
			t.Errorf("image %d is open", i)
		}
	}
}
