package troubles

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// trouble is something that goes wrong.
type trouble struct {
	name string
	// make brings it about.
	make func(t *testing.T, s *suite)
	// asks are at most two commands. The last one's answer has the cause and the cure.
	asks []question
	// page is a row of docs/troubleshooting.md that has them where no command can know.
	page string
	// cure does what the answer says.
	cure func(t *testing.T, a answer)
	// well is what is Ready then: pod/NAME or deployment/NAME of the developer's; empty if cure waits for what it should.
	well string
}

// TestTroubles tries the samples and follows the pages while all is well. Then it makes each trouble happen, asks, does what the answer
// says, and wants all to be well again. It takes eight minutes on a busy machine.
func TestTroubles(t *testing.T) {
	s := start(t)
	t.Cleanup(func() {
		if t.Failed() {
			s.Dump(t)
		}
	})
	t.Run("samples", func(t *testing.T) { trySamples(t, s) })
	t.Run("pages", func(t *testing.T) { followPages(t, s) })
	t.Run("of developers", func(t *testing.T) {
		for _, trouble := range append(accessTroubles(s), append(imageTroubles(), append(podTroubles(), claimTroubles()...)...)...) {
			t.Run(trouble.name, func(t *testing.T) {
				t.Parallel()
				trouble.happens(t, s)
			})
		}
	})
	// A node is left out, and a driver removed, when no pod uses a volume there.
	s.Must(t, "-n", team, "delete", "deployments,pods", "--all", "--timeout=2m")
	for _, trouble := range append(nodeTroubles(s), driverTroubles()...) {
		if !t.Run(trouble.name, func(t *testing.T) { trouble.happens(t, s) }) {
			t.FailNow() // the next one would find two
		}
	}
}

func (c trouble) happens(t *testing.T, s *suite) {
	if len(c.asks) > 2 || len(c.asks) == 0 {
		t.Fatalf("%d commands", len(c.asks))
	}
	c.make(t, s)
	var a answer
	for _, q := range c.asks {
		a = s.ask(t, q, a)
	}
	if c.page != "" {
		page, err := os.ReadFile(filepath.Join(s.Root, "docs/troubleshooting.md"))
		if err != nil || !strings.Contains(string(page), c.page) {
			t.Errorf("docs/troubleshooting.md has not the row %q: %v", c.page, err)
		}
	}
	c.cure(t, a)
	if c.well != "" {
		s.waitWell(t, c.well)
		s.Must(t, "-n", team, "delete", c.well, "--wait=false")
	}
}

// waitWell waits until what somebody wanted to run does.
func (s *suite) waitWell(t *testing.T, subject string) {
	t.Helper()
	condition := "Ready"
	if strings.HasPrefix(subject, "deployment/") {
		condition = "Available"
	}
	s.Must(t, "-n", team, "wait", subject, "--for=condition="+condition, "--timeout="+late.String())
}

// applies makes a trouble by manifests.
func applies(manifests ...string) func(*testing.T, *suite) {
	return func(t *testing.T, s *suite) {
		t.Helper()
		s.Apply(t, manifests...)
	}
}

// again deletes a pod as the answer says, and applies it with the correction.
func again(pod, manifest string) func(*testing.T, answer) {
	return func(t *testing.T, a answer) {
		t.Helper()
		a.run(t, "kubectl -n "+team+" delete pod "+pod)
		a.suite.Apply(t, manifest)
	}
}
