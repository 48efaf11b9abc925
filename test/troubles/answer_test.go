package troubles

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/image-csi/image-csi-operator/test/internal/poll"
)

// answer is what somebody reads.
type answer struct {
	suite *suite
	text  string
}

// question is a command that somebody types, and what the answer has to say.
type question struct {
	// as is who asks; empty for the administrator.
	as string
	// command of kubectl, such as "imagecsi why pod/x -n team".
	command string
	// printed is how the command begins instead, if the answer before has it.
	printed string
	// says are words of the answer.
	says []string
}

// why is the developer's question about a pod or a claim.
func why(subject string, says ...string) question {
	return question{as: developer, command: "imagecsi why " + subject + " -n " + team, says: says}
}

// admin is a question of the administrator's.
func admin(command string, says ...string) question { return question{command: command, says: says} }

// printed is a command that the answer before has, as the developer runs it.
func printed(command string, says ...string) question {
	return question{as: developer, printed: command, says: says}
}

// ask repeats a question until the answer says all that it should, and every page that it names is there.
func (s *suite) ask(t *testing.T, q question, before answer) (a answer) {
	t.Helper()
	if q.printed != "" {
		q.command = strings.TrimPrefix(before.command(t, q.printed), "kubectl ")
	}
	args := strings.Fields(q.command)
	if q.as != "" {
		args = append(args, "--as", q.as)
	}
	poll.Until(t, "kubectl "+q.command+" to say why", soon, func() error {
		said, err := s.Kubectl(t.Context(), "", args...)
		if err != nil && !strings.Contains(err.Error(), "exit status 1") {
			return err
		}
		for _, word := range q.says {
			if !strings.Contains(said, word) {
				return fmt.Errorf("it does not say %q:\n%s", word, said)
			}
		}
		a = answer{s, said}
		return nil
	})
	t.Logf("$ kubectl %s\n%s", q.command, a.text)
	for _, page := range regexp.MustCompile(`(?m)[Ss]ee:? +(\S+\.md)#\S+$`).FindAllStringSubmatch(a.text, -1) {
		if _, err := os.Stat(filepath.Join(s.Root, page[1])); err != nil {
			t.Error(err)
		}
	}
	return a
}

// command returns the command of an answer that begins with a prefix, without the remark after it.
func (a answer) command(t *testing.T, prefix string) string {
	t.Helper()
	at := strings.Index(a.text, prefix)
	if at < 0 {
		t.Fatalf("the answer has no command %q:\n%s", prefix, a.text)
	}
	line, _, _ := strings.Cut(a.text[at:], "\n")
	line, _, _ = strings.Cut(line, "   (")
	return line
}

// run runs that command as it was printed, but for placeholders, which come in pairs with what they stand for.
func (a answer) run(t *testing.T, prefix string, fill ...string) {
	t.Helper()
	a.suite.MustShell(t, strings.NewReplacer(fill...).Replace(a.command(t, prefix)))
}

// edit runs the command of an answer by which a manifest is changed, with an editor that does a substitution of sed.
func (a answer) edit(t *testing.T, substitution string) {
	t.Helper()
	a.suite.MustShell(t, a.command(t, "kubectl -n "+team+" edit "), "KUBE_EDITOR=sed -i -e '"+substitution+"'")
}

// credentials fill in what only the reader knows of a registry.
func credentials(password string) []string {
	return []string{"USER", "alice", "PASSWORD", password, "SECRET", "registry"}
}

// TestACommandIsReadOutOfAnAnswer needs no cluster.
func TestACommandIsReadOutOfAnAnswer(t *testing.T) {
	a := answer{text: "Cause    x (Y)\nDo       kubectl -n team delete pod p   (and create it again)\n         kubectl get pods\nSee      docs/x.md#y\n"}
	for prefix, want := range map[string]string{"kubectl -n team": "kubectl -n team delete pod p", "kubectl get": "kubectl get pods"} {
		if got := a.command(t, prefix); got != want {
			t.Errorf("the command %q is %q, want %q", prefix, got, want)
		}
	}
}
