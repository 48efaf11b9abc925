package cluster

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/image-csi/image-csi-operator/hack/cluster/internal/process"
	"github.com/image-csi/image-csi-operator/hack/cluster/internal/supervise"
)

const (
	// pollEvery is short, because a cluster gets ready in seconds. Where the answer itself takes longer, so does the
	// pause: asking must not be what keeps a slow machine busy.
	pollEvery = 50 * time.Millisecond
	// answerWithin is how long the API server may think about whether it is ready.
	answerWithin = 10 * time.Second
	// endingsAllowed is how often a program may end before it is given up: the first start can meet a moment's trouble.
	endingsAllowed = 4
	// shownLines is how much of a failed program's log an error shows.
	shownLines = 12
)

// suspect is a program that a wait depends on, with its log.
type suspect struct {
	name, log string
}

// wait returns when done says so. It gives up when the deadline passes, when one of the processes that it depends on
// is gone, or when a suspect ends again and again, and then says what the culprit's log says.
func (c *Cluster) wait(ctx context.Context, what string, alive func() bool, suspects []suspect, done func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, c.state.Patience)
	defer cancel()
	for {
		asked := time.Now()
		reason := done(ctx)
		if reason == nil {
			return nil
		}
		for _, s := range suspects {
			if supervise.Endings(s.log) >= endingsAllowed {
				return s.failure(what, "it ends again and again")
			}
		}
		if !alive() {
			return suspects[0].failure(what, "the process that runs it has ended")
		}
		select {
		case <-ctx.Done():
			return blame(suspects).failure(what, fmt.Sprintf("not ready in time: %v", reason))
		case <-time.After(max(pollEvery, time.Since(asked))):
		}
	}
}

// blame is the first suspect that has ended at all, or the last, for which the others only prepare.
func blame(suspects []suspect) suspect {
	for _, s := range suspects {
		if supervise.Endings(s.log) > 0 {
			return s
		}
	}
	return suspects[len(suspects)-1]
}

func (s suspect) failure(what, reason string) error {
	return fmt.Errorf("%s did not come up because of %s: %s; the end of its log (%s):\n%s", what, s.name, reason, s.log, process.Tail(s.log, shownLines))
}

func (c *Cluster) controlPlaneSuspect() suspect {
	return suspect{controlPlaneProcess, c.paths.log(controlPlaneProcess)}
}

func (c *Cluster) waitForRegistry(ctx context.Context) error {
	url := "http://" + c.HostRegistry() + "/v2/"
	return c.wait(ctx, "the registry", c.Running, []suspect{c.controlPlaneSuspect()}, func(ctx context.Context) error {
		return getOK(ctx, http.DefaultClient, url)
	})
}

func (c *Cluster) waitForAPIServer(ctx context.Context) error {
	suspects := []suspect{c.controlPlaneSuspect(), {etcd, c.paths.log(etcd)}, {apiServer, c.paths.log(apiServer)}}
	client, err := c.client()
	if err != nil {
		return err
	}
	return c.wait(ctx, "the API server", c.Running, suspects, func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, answerWithin)
		defer cancel()
		return client.Discovery().RESTClient().Get().AbsPath("/readyz").Do(ctx).Error()
	})
}

// waitForNode waits for what makes a node of use: Ready in the API, or a runtime that answers.
func (c *Cluster) waitForNode(ctx context.Context, n nodeState) error {
	node := &Node{cluster: c, state: n}
	runtime := runtimeLog(n.Runtime)
	suspects := []suspect{{"the node's init", c.nodeInitLog(n)}, {runtime, filepath.Join(node.LogDir(), runtime+".log")}}
	done := node.runtimeAnswers
	if n.Kubelet == KubeletEnabled {
		suspects = append(suspects, suspect{"kubelet", filepath.Join(node.LogDir(), "kubelet.log")})
		client, err := c.client()
		if err != nil {
			return err
		}
		started := time.Now().Add(-c.process(nodeProcess(n.Name)).Age())
		done = func(ctx context.Context) error {
			// A heartbeat says the second only, so one from just before a power cut could pass for new.
			if err := node.runtimeAnswers(ctx); err != nil {
				return err
			}
			return nodeReady(ctx, client, n.Name, started)
		}
	}
	return c.wait(ctx, "node "+n.Name, node.Running, suspects, done)
}

func (n *Node) runtimeAnswers(context.Context) error {
	conn, err := net.DialTimeout("unix", n.Root()+n.RuntimeSocket(), time.Second)
	if err != nil {
		return err
	}
	return conn.Close()
}

// nodeReady wants a heartbeat since the node was started: what the API server knows of a node outlives the node.
func nodeReady(ctx context.Context, client kubernetes.Interface, name string, started time.Time) error {
	node, err := client.CoreV1().Nodes().Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return err
	}
	for _, condition := range node.Status.Conditions {
		if condition.Type != corev1.NodeReady {
			continue
		}
		if condition.Status != corev1.ConditionTrue {
			return fmt.Errorf("not Ready: %s", condition.Message)
		}
		if condition.LastHeartbeatTime.Time.Before(started.Truncate(time.Second)) {
			return errors.New("the kubelet has not reported yet")
		}
		return nil
	}
	return errors.New("the kubelet has not reported yet")
}

func (c *Cluster) client() (kubernetes.Interface, error) {
	config, err := c.RESTConfig()
	if err != nil {
		return nil, err
	}
	config.QPS = -1 // no limit: waiting is done by polling
	return kubernetes.NewForConfig(config)
}

func getOK(ctx context.Context, client *http.Client, url string) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("%s answers %s", url, response.Status)
	}
	return nil
}
