package credentials

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/distribution/reference"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/image-csi/image-csi-operator/internal/credentialprovider/api"
	"github.com/image-csi/image-csi-operator/internal/nodeplugin/pull"
)

// providersTimeout is longer than a provider's program may run.
const providersTimeout = 75 * time.Second

// Providers are the node's credential providers, which run in a container next to this one.
type Providers struct {
	socket string
	client *http.Client
}

// NewProviders returns the providers that answer at a socket; nil for no socket. Nothing is asked yet.
func NewProviders(socket string) *Providers {
	if socket == "" {
		return nil
	}
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", socket)
	}
	return &Providers{socket: socket, client: &http.Client{
		Timeout:   providersTimeout,
		Transport: &http.Transport{DialContext: dial, DisableKeepAlives: true},
		// Tokens must not follow a redirect.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// For returns the credentials that the providers may add for a pod's volume; nil without providers. Without tokens every pod of
// the node gets the same ones.
func (p *Providers) For(image reference.Named, tokens Tokens) *pull.Provided {
	if p == nil {
		return nil
	}
	question := api.Question{Image: reference.TrimNamed(image).String(), Tokens: tokens, ServiceAccount: tokens.account()}
	return &pull.Provided{
		To:  question.ServiceAccount,
		Ask: func(ctx context.Context) ([]*runtimeapi.AuthConfig, error) { return p.ask(ctx, question) },
	}
}

// ask returns credentials, and an error about providers that should have given some and did not. Either may be empty.
func (p *Providers) ask(ctx context.Context, question api.Question) ([]*runtimeapi.AuthConfig, error) {
	body, err := json.Marshal(question)
	if err != nil {
		return nil, err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://providers"+api.Path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	request.Header.Set("Content-Type", "application/json")
	response, err := p.client.Do(request)
	if err != nil {
		return nil, p.unanswered(err)
	}
	defer response.Body.Close()
	data, err := io.ReadAll(io.LimitReader(response.Body, api.MaxAnswerBytes+1))
	var answer api.Answer
	switch {
	case err != nil:
		return nil, p.unanswered(err)
	case response.StatusCode != http.StatusOK:
		return nil, fmt.Errorf("the container of credential providers answers %s", response.Status)
	case len(data) > api.MaxAnswerBytes || json.Unmarshal(data, &answer) != nil:
		return nil, errors.New("the container of credential providers gave an answer that cannot be read")
	}
	var auths []*runtimeapi.AuthConfig
	for _, auth := range answer.Auths {
		auths = append(auths, &runtimeapi.AuthConfig{Username: auth.Username, Password: auth.Password})
	}
	if len(answer.Problems) > 0 {
		return auths, errors.New(strings.Join(answer.Problems, "; "))
	}
	return auths, nil
}

func (p *Providers) unanswered(err error) error {
	var timeout net.Error
	if errors.As(err, &timeout) && timeout.Timeout() {
		return fmt.Errorf("the container of credential providers did not answer within %s", providersTimeout)
	}
	return fmt.Errorf("the container of credential providers does not answer at %s; the log of container credential-provider "+
		"in the node plugin's pod has the reason: %w", p.socket, err)
}
