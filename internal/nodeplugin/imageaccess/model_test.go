package imageaccess

import (
	"os"
	"slices"
	"testing"
	"time"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// model is what the records promise, in the plainest form: who proved what, and what came by a pull of ours.
type model struct {
	node   map[string]bool            // digests on the node
	came   map[string]bool            // digests that another program has brought at some time
	ours   map[string]bool            // of those, what came by a pull that may have used credentials, or was granted
	proofs map[string]map[string]bool // digest -> "scope/credential"
}

// brought notes that a pull which ends badly has an image on the node. What the node may have held when it began cannot be
// distinguished from what the pull brought, so only what no other program ever brought is certainly the pull's.
func (m model) brought(digest string) {
	m.node[digest] = true
	m.ours[digest] = m.ours[digest] || !m.came[digest]
}

// FuzzRecords does what each byte stands for, on records and on a model. The records may be stricter than the model wherever a
// process died or did not get an answer, and more open never.
func FuzzRecords(f *testing.F) {
	for _, seed := range []string{
		"\x00\x10\x20", "\x00\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a", "\x10\x21\x32\x43\x54\x65\x76\x87",
		"\x00\x06\x00\x01\x08\x00\x05\x03\x08", "\x00\x04\x08\x09\x06\x02\x06\x12\x03\x13\x06",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(play)
}

// play takes each of the steps, and checks every verdict after each.
func play(t *testing.T, steps []byte) {
	creds := []*runtimeapi.AuthConfig{nil, alice, bob}
	names := []string{"anyone", "alice", "bob"}
	digests := []string{one, two, "sha256:3333"}
	scopes := []string{"", "red"}
	if len(steps) > 40 {
		t.Skip()
	}
	dir := t.TempDir()
	r := open(t, dir)
	now := time.Unix(1e9, 0)
	clock := func() time.Time { return now }
	r.now = clock
	m := model{node: map[string]bool{}, came: map[string]bool{}, ours: map[string]bool{}, proofs: map[string]map[string]bool{}}
	var running []*Pull
	held := func() (here []string) {
		for digest := range m.node {
			here = append(here, digest)
		}
		slices.Sort(here)
		return here
	}
	for _, step := range steps {
		digest, cred, scope := digests[int(step>>4)%3], int(step>>6)%3, scopes[int(step>>5)%2]
		switch step & 0x0f {
		case 0, 1: // a pull begins
			pull, err := r.Begin(repository, held())
			if err != nil {
				t.Fatal(err)
			}
			running = append(running, pull)
		case 2: // a pull brings an image
			if len(running) == 0 {
				continue
			}
			m.brought(digest)
		case 3, 4: // it ends well
			if len(running) == 0 {
				continue
			}
			m.node[digest], m.ours[digest] = true, true
			if err := r.Grant(repository, []string{digest}, scope, creds[cred]); err != nil {
				t.Fatal(err)
			}
			if m.proofs[digest] == nil {
				m.proofs[digest] = map[string]bool{}
			}
			m.proofs[digest][scope+"/"+names[cred]] = true
			// What another pull brought meanwhile it would have granted itself; here it does not.
			running[0].Failed(held())
			running = running[1:]
		case 5: // it ends with an error
			if len(running) > 0 {
				running[0].Failed(held())
				running = running[1:]
			}
		case 6: // it ends without an answer, and may bring something later
			if len(running) > 0 {
				running[0].Unanswered()
				running = running[1:]
				m.brought(digest)
			}
		case 7: // the process is killed
			r, running = open(t, dir), nil
			r.now = clock
		case 8: // a registry refuses
			if err := r.Refuse(repository, scope, creds[cred]); err != nil {
				t.Fatal(err)
			}
			for _, proofs := range m.proofs {
				for _, s := range scopes {
					if cred > 0 || s == scope {
						delete(proofs, s+"/"+names[cred])
					}
				}
			}
		case 9: // another program brings an image that is not there
			if !m.node[digest] && len(running) == 0 {
				m.node[digest], m.came[digest] = true, true
			}
		case 10: // an image leaves the node
			delete(m.node, digest)
			delete(m.ours, digest)
			if len(running) == 0 { // until then it is not known whether it comes back
				delete(m.proofs, digest)
			}
			prune(t, r, map[string][]string{repository: held(), "r.example/pause": {"sha256:0"}})
		case 11:
			now = now.Add(settleAfter / 2)
		case 12:
			prune(t, r, map[string][]string{repository: held(), "r.example/pause": {"sha256:0"}})
		case 13: // a file is damaged
			if _, err := os.Stat(r.file(repository)); err == nil {
				if err := os.WriteFile(r.file(repository), []byte(`{"version":2,`), 0o600); err != nil {
					t.Fatal(err)
				}
			}
		}
		check(t, r, m, digests, scopes, creds, names)
	}
}

// check checks the one promise: no caller has an image that came by a pull of ours without a proof that is still valid.
func check(t *testing.T, r *Records, m model, digests, scopes []string, creds []*runtimeapi.AuthConfig, names []string) {
	t.Helper()
	for _, digest := range digests {
		if !m.node[digest] {
			continue
		}
		for _, scope := range scopes {
			for i, cred := range creds {
				var auths []*runtimeapi.AuthConfig
				if cred != nil {
					auths = append(auths, cred)
				}
				may := m.proofs[digest][scope+"/anyone"] || (i > 0 && m.proofs[digest][scope+"/"+names[i]])
				got := r.Verdict(Image{repository, digest}, Caller{Scope: scope, Auths: auths})
				if (got == Proven && !may) || (got == Unknown && m.ours[digest]) {
					t.Fatalf("%s in scope %q has %s: verdict %d, proofs %v, ours %t", names[i], scope, digest, got, m.proofs[digest], m.ours[digest])
				}
			}
		}
	}
}
