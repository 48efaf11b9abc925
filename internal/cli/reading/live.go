package reading

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/image-csi/image-csi-operator/internal/cli/seen"
	"github.com/image-csi/image-csi-operator/internal/contract"
	"github.com/image-csi/image-csi-operator/internal/liveview"
)

const (
	// askedAtOnce is how many node plugins are asked at a time.
	askedAtOnce = 8

	// maxPages bounds what is read of one list of one node plugin, which may have been taken over.
	maxPages = 40
)

// NodePlugins returns the pods of node plugins in a namespace, on one node or, if that is empty, on all of them.
func (r *Reader) NodePlugins(ctx context.Context, namespace, node string) ([]seen.NodePlugin, error) {
	options := []client.ListOption{client.InNamespace(namespace), client.HasLabels{contract.DriverLabel}}
	if node != "" {
		options = append(options, client.MatchingFields{"spec.nodeName": node})
	}
	var pods corev1.PodList
	if err := r.client.List(ctx, &pods, options...); err != nil {
		return nil, fmt.Errorf("list the pods of node plugins in namespace %s: %w", namespace, err)
	}
	var out []seen.NodePlugin
	for i := range pods.Items {
		out = append(out, nodePluginOf(&pods.Items[i]))
	}
	slices.SortFunc(out, func(a, b seen.NodePlugin) int {
		return strings.Compare(a.Node+"/"+a.Driver+"/"+a.Pod, b.Node+"/"+b.Driver+"/"+b.Pod)
	})
	return out, nil
}

func nodePluginOf(pod *corev1.Pod) seen.NodePlugin {
	p := seen.NodePlugin{Namespace: pod.Namespace, Pod: pod.Name, Node: pod.Spec.NodeName, Driver: pod.Labels[contract.DriverLabel], Revision: pod.Labels[contract.RevisionLabel]}
	for i := range pod.Spec.Containers {
		for _, arg := range pod.Spec.Containers[i].Args {
			if address, found := strings.CutPrefix(arg, "--"+contract.FlagLiveAddress+"="); found {
				_, port, _ := strings.Cut(address, ":")
				number, _ := strconv.ParseUint(port, 10, 16)
				p.Port = int32(number)
			}
		}
	}
	switch {
	case pod.Status.Phase != corev1.PodRunning:
		p.Unasked = "it does not run"
	case p.Port == 0 && pod.Spec.HostNetwork:
		p.Unasked = "its node class has network Host, where it shows nothing"
	case p.Port == 0:
		p.Unasked = "it is of a release that shows nothing"
	}
	return p
}

// PodsOn returns the pods on a node, by their UIDs.
func (r *Reader) PodsOn(ctx context.Context, node string) (seen.Cluster, error) {
	var cluster seen.Cluster
	cause, err := causeOf(list(ctx, r, func(l *corev1.PodList) { cluster.Pods = l.Items }, client.MatchingFields{"spec.nodeName": node}))
	if err != nil {
		return cluster, fmt.Errorf("list the pods on node %s: %w", node, err)
	}
	if cause != "" {
		cluster.Unread = append(cluster.Unread, seen.Unread{Resource: seen.Pods, Cause: cause})
	}
	return cluster, nil
}

// Views asks node plugins for parts of what they show, a few at a time, and each no longer than patience. What one does not answer is in
// its view.
func (r *Reader) Views(ctx context.Context, plugins []seen.NodePlugin, patience time.Duration, parts ...seen.Part) ([]seen.View, error) {
	core, err := corev1client.NewForConfig(r.config)
	if err != nil {
		return nil, fmt.Errorf("prepare to ask node plugins: %w", err)
	}
	views := make([]seen.View, len(plugins))
	var asking errgroup.Group
	asking.SetLimit(askedAtOnce)
	for i, plugin := range plugins {
		asking.Go(func() error {
			views[i] = seen.View{Plugin: plugin, Failure: plugin.Unasked}
			if plugin.Unasked != "" {
				return nil
			}
			ctx, cancel := context.WithTimeout(ctx, patience)
			defer cancel()
			pod := core.RESTClient().Post().Resource("pods").Namespace(plugin.Namespace).Name(plugin.Pod).SubResource("portforward").URL()
			if err := r.view(ctx, &views[i], pod, parts); err != nil {
				views[i].Failure = err.Error()
				if errors.Is(err, context.DeadlineExceeded) {
					views[i].Failure = "no answer in " + patience.String()
				}
				if errors.Is(err, errForbidden) {
					views[i].Cause = seen.Forbidden
				}
			}
			return nil
		})
	}
	return views, asking.Wait()
}

// view asks one node plugin.
func (r *Reader) view(ctx context.Context, view *seen.View, pod *url.URL, parts []seen.Part) error {
	connection, err := forward(ctx, r.config, pod, view.Plugin.Port)
	if err != nil {
		return err
	}
	defer connection.end()
	dialed := make(chan net.Conn, 1)
	dialed <- connection
	asks := asker{host: "127.0.0.1:" + strconv.Itoa(int(view.Plugin.Port)), client: &http.Client{
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: &http.Transport{DisableCompression: true, MaxResponseHeaderBytes: 64 << 10, DialContext: func(context.Context, string, string) (net.Conn, error) {
			select {
			case c := <-dialed:
				return c, nil
			default:
				return nil, errors.New("the connection to the node plugin was lost")
			}
		}},
	}}
	for _, part := range parts {
		if err := asks.part(ctx, view, part); err != nil {
			if said := connection.failure(); said != "" {
				return fmt.Errorf("the kubelet does not reach it: %s", said)
			}
			return err
		}
	}
	return nil
}

// asker asks a live view over one connection.
type asker struct {
	host   string
	client *http.Client
}

func (a asker) part(ctx context.Context, view *seen.View, part seen.Part) (err error) {
	switch part {
	case seen.PartInfo:
		_, err = ask(ctx, a, liveview.InfoPath, &view.Info)
	case seen.PartVolumes:
		view.Volumes, err = pages[liveview.Volume](ctx, a, liveview.VolumesPath)
	case seen.PartImages:
		view.Images, err = pages[liveview.Image](ctx, a, liveview.ImagesPath)
	case seen.PartPulls:
		view.Pulls, err = pages[liveview.Pull](ctx, a, liveview.PullsPath)
	case seen.PartOrphans:
		view.Orphans, err = pages[liveview.Orphan](ctx, a, liveview.OrphansPath)
	}
	return err
}

// pages reads a list. What is more than maxPages is left out, with an error.
func pages[T any](ctx context.Context, a asker, path string) (items []T, err error) {
	next := ""
	for range maxPages {
		page, err := ask(ctx, a, path+"?"+liveview.ContinueParameter+"="+url.QueryEscape(next), new(liveview.List[T]))
		if err != nil {
			return items, err
		}
		items = append(items, page.Items[:min(len(page.Items), liveview.MaxPage)]...)
		if next = page.Continue; next == "" {
			return items, nil
		}
	}
	return items, fmt.Errorf("%s has more than %d pages, and the rest is left out", path, maxPages)
}

// ask reads one document into out.
func ask[T any](ctx context.Context, a asker, path string, out *T) (*T, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+a.host+path, nil)
	if err != nil {
		return out, err
	}
	answer, err := a.client.Do(request)
	if err != nil {
		return out, fmt.Errorf("ask the node plugin: %w", err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(io.LimitReader(answer.Body, liveview.MaxAnswer+1))
	switch {
	case err != nil:
		return out, fmt.Errorf("read the node plugin's answer: %w", err)
	case len(text) > liveview.MaxAnswer:
		return out, fmt.Errorf("the node plugin's answer has more than %d bytes", liveview.MaxAnswer)
	case answer.StatusCode != http.StatusOK:
		var failure liveview.Failure
		_ = json.Unmarshal(text, &failure) // without a message, the code has to do
		return out, fmt.Errorf("the node plugin answers %d: %.512s", answer.StatusCode, failure.Message)
	}
	if err := json.Unmarshal(text, out); err != nil {
		return out, fmt.Errorf("the node plugin's answer is none: %.256s", err.Error())
	}
	return out, nil
}
