package credentialprovider

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	providerv1 "k8s.io/kubelet/pkg/apis/credentialprovider/v1"
)

const (
	// programTimeout is the kubelet's for a credential provider.
	programTimeout = time.Minute

	// exitDelay is how long a program's children have to close its output after it has ended.
	exitDelay = 2 * time.Second

	// maxOutput bounds what is read of a program's answer, and maxComplaint what is logged of its standard error.
	maxOutput    = 1 << 20
	maxComplaint = 1 << 10
)

// programs runs the providers' programs, which lie in one directory.
type programs struct {
	dir     string
	timeout time.Duration
	log     *slog.Logger
}

// run asks a program about an image, as the kubelet does: a CredentialProviderRequest on its standard input, the
// answer on its standard output. An error is a sentence for the events of pods; what the program wrote to its standard
// error goes to the log.
func (p programs) run(ctx context.Context, entry provider, image, token string) (answer, error) {
	request, err := json.Marshal(providerv1.CredentialProviderRequest{
		TypeMeta:            metav1.TypeMeta{APIVersion: entry.APIVersion, Kind: "CredentialProviderRequest"},
		Image:               image,
		ServiceAccountToken: token,
	})
	if err != nil {
		return answer{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, p.timeout)
	defer cancel()
	output, complaint := &limitedBuffer{limit: maxOutput}, &limitedBuffer{limit: maxComplaint}
	command := exec.CommandContext(ctx, filepath.Join(p.dir, entry.Name), entry.Args...)
	command.Stdin, command.Stdout, command.Stderr = bytes.NewReader(request), output, complaint
	command.Env = os.Environ()
	for _, variable := range entry.Env {
		command.Env = append(command.Env, variable.Name+"="+variable.Value) // the last one counts
	}
	err = runGroup(command)
	switch {
	case ctx.Err() != nil:
		err = fmt.Errorf("it did not answer within %s", p.timeout)
	case err != nil:
		err = reason(err)
	case output.exceeded:
		err = fmt.Errorf("its answer is larger than %d bytes", maxOutput)
	default:
		var a answer
		if a, err = parseAnswer(output.content.Bytes(), entry.APIVersion); err == nil {
			return a, nil
		}
	}
	p.log.Warn("a credential provider failed", "provider", entry.Name, "image", image, "error", err,
		"stderr", without(complaint.content.String(), token))
	return answer{}, err
}

// reason returns a sentence about why a program did not run, or what it ended with.
func reason(err error) error {
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit):
		return fmt.Errorf("it ended with %s; the log of this container says more", exit.ProcessState)
	case errors.Is(err, fs.ErrPermission):
		return errors.New("it may not be executed by a user who is not root; the program and its directory must be readable and executable for all")
	case errors.Is(err, fs.ErrNotExist):
		return errors.New("it is not in the directory of providers, or is not a static program: the container has none of the host's libraries")
	}
	return fmt.Errorf("it could not be run: %w", err)
}

// without removes a secret from a text.
func without(text, secret string) string {
	if secret != "" {
		text = strings.ReplaceAll(text, secret, "[token]")
	}
	return strings.ToValidUTF8(text, "")
}

// limitedBuffer keeps the beginning of what is written.
type limitedBuffer struct {
	limit    int
	content  bytes.Buffer
	exceeded bool
}

// Write never fails, so that a program that writes too much still ends normally.
func (b *limitedBuffer) Write(data []byte) (int, error) {
	left := b.limit - b.content.Len()
	if len(data) > left {
		b.exceeded = true
		b.content.Write(data[:left])
		return len(data), nil
	}
	return b.content.Write(data)
}
