package crio

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/BurntSushi/toml"

	"github.com/image-csi/image-csi-operator/internal/nodeplugin/imagestore"
)

const (
	// askTimeout bounds a question for CRI-O's configuration.
	askTimeout = 5 * time.Second

	// maxSetup bounds CRI-O's configuration, which has some ten KiB.
	maxSetup = 1 << 20
)

// Setup is where CRI-O keeps what it stores.
type Setup struct {
	// GraphRoot, RunRoot and ImageStore are "root", "runroot" and "imagestore" of crio.conf(5) or storage.conf(5). ImageStore
	// is empty where images are kept in GraphRoot.
	GraphRoot, RunRoot, ImageStore string

	// AdditionalStores are those that CRI-O only reads: "additionalimagestores" of storage.conf(5), or the storage option
	// overlay.imagestore.
	AdditionalStores []string
}

// ask asks CRI-O for its setup, which answers HTTP on its socket, too ("crio status config"). It has read crio.conf,
// crio.conf.d and storage.conf, and knows what it uses of them.
func ask(ctx context.Context, endpoint string) (Setup, error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	transport := &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", strings.TrimPrefix(endpoint, "unix://"))
	}}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://crio/config", nil)
	if err != nil {
		return Setup{}, err
	}
	answer, err := (&http.Client{Transport: transport}).Do(request)
	if err != nil {
		return Setup{}, fmt.Errorf("asking CRI-O for its configuration: %w", err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(io.LimitReader(answer.Body, maxSetup))
	if err == nil && answer.StatusCode != http.StatusOK {
		err = errors.New(answer.Status)
	}
	if err != nil {
		return Setup{}, fmt.Errorf("asking CRI-O for its configuration: %w", err)
	}
	return parseSetup(string(text))
}

func parseSetup(text string) (Setup, error) {
	var config struct {
		CRIO struct {
			Root          string   `toml:"root"`
			RunRoot       string   `toml:"runroot"`
			ImageStore    string   `toml:"imagestore"`
			StorageOption []string `toml:"storage_option"`
		} `toml:"crio"`
	}
	if _, err := toml.Decode(text, &config); err != nil {
		return Setup{}, fmt.Errorf("reading CRI-O's configuration: %w", err)
	}
	s := Setup{GraphRoot: config.CRIO.Root, RunRoot: config.CRIO.RunRoot, ImageStore: config.CRIO.ImageStore}
	for _, option := range config.CRIO.StorageOption {
		key, value, _ := strings.Cut(option, "=")
		if name := key[strings.LastIndex(key, ".")+1:]; name != "imagestore" && name != "additionalimagestore" {
			continue
		}
		for store := range strings.SplitSeq(value, ",") {
			if store != "" {
				s.AdditionalStores = append(s.AdditionalStores, store)
			}
		}
	}
	return s, nil
}

// completed adds to a setup what CRI-O reports, if it answers.
func (s Setup) completed(endpoint string, logger *slog.Logger) Setup {
	reported, err := ask(context.Background(), endpoint)
	if err != nil {
		logger.Warn("CRI-O does not report how its store is set up; it is asked again", "error", err)
		return s
	}
	s = s.found(reported)
	if unread := s.unread(reported); len(unread) > 0 {
		logger.Warn("images in additional stores of CRI-O are not found; name the stores in additionalImageStores, in spec.nodeClasses for this node's class", "stores", unread)
	}
	return s
}

// found adds to a setup what CRI-O reports and this process can see: an image store, and additional ones.
func (s Setup) found(reported Setup) Setup {
	if s.ImageStore == "" && isDirectory(reported.ImageStore) {
		s.ImageStore = reported.ImageStore
	}
	for _, store := range reported.AdditionalStores {
		if !s.reads(store) && isDirectory(store) {
			s.AdditionalStores = append(slices.Clip(s.AdditionalStores), store)
		}
	}
	return s
}

// differs returns an error that names the setting if CRI-O keeps its images elsewhere than where this process looks for them.
func (s Setup) differs(reported Setup) error {
	var wrong []string
	for _, c := range []struct{ opened, reported, what, field string }{
		{s.GraphRoot, reported.GraphRoot, "its store", "storageRoot"},
		{s.RunRoot, reported.RunRoot, "its run-time state", "runRoot"},
		{s.ImageStore, reported.ImageStore, "its images", "imageStore"},
	} {
		switch {
		case same(c.opened, c.reported), c.reported == "" && c.field != "imageStore":
		case c.reported == "":
			wrong = append(wrong, fmt.Sprintf("CRI-O keeps %s in its root, and the node plugin looks in %s: leave out %s", c.what, c.opened, c.field))
		default:
			wrong = append(wrong, fmt.Sprintf("CRI-O keeps %s in %s, and the node plugin looks in %q: set %s: %s", c.what, c.reported, c.opened, c.field, c.reported))
		}
	}
	if len(wrong) == 0 {
		return nil
	}
	return fmt.Errorf("%s, in spec.nodeClasses for this node's class; restart the node plugin if it is set", strings.Join(wrong, "; "))
}

// unread returns the additional stores that CRI-O reads and this process does not.
func (s Setup) unread(reported Setup) []string {
	return slices.DeleteFunc(slices.Clone(reported.AdditionalStores), s.reads)
}

func (s Setup) reads(store string) bool {
	return slices.ContainsFunc(s.AdditionalStores, func(known string) bool { return same(known, store) })
}

// same reports whether two names are those of one directory. The directory /run has the name /var/run as well.
func same(a, b string) bool {
	clean := func(name string) string {
		if name == "" {
			return ""
		}
		name = filepath.Clean(name)
		if rest, ok := strings.CutPrefix(name, "/var/run/"); ok {
			return "/run/" + rest
		}
		return name
	}
	return clean(a) == clean(b)
}

func isDirectory(name string) bool {
	info, err := os.Stat(name)
	return err == nil && info.IsDir()
}

// Ready returns an error, once CRI-O answers, while CRI-O keeps its images elsewhere than where this process looks for them.
func (s *Store) Ready(ctx context.Context) error {
	if s.endpoint == "" || s.agreed.Load() {
		return nil
	}
	reported, err := ask(ctx, s.endpoint)
	if err != nil {
		return nil //nolint:nilerr // whether it answers is not asked here
	}
	if err := s.setup.differs(reported); err != nil {
		return err
	}
	s.agreed.Store(true)
	return nil
}

// lacks returns the error for an image that is not in the store. It names where CRI-O may have it.
func (s *Store) lacks(ctx context.Context, image string) error {
	missing := fmt.Errorf("%w: CRI-O has no %s", imagestore.ErrNotFound, image)
	if s.endpoint == "" {
		return missing
	}
	reported, err := ask(ctx, s.endpoint)
	if err != nil {
		return missing
	}
	if err := s.setup.differs(reported); err != nil {
		return fmt.Errorf("%w: it is not in CRI-O's store as it is seen here: %w", imagestore.ErrUnsupported, err)
	}
	if unread := s.setup.unread(reported); len(unread) > 0 {
		return fmt.Errorf("%w: it is not in CRI-O's own store, and CRI-O also reads the additional store %s, which is not seen here: "+
			"name it in additionalImageStores, in spec.nodeClasses for this node's class", imagestore.ErrUnsupported, strings.Join(unread, ", "))
	}
	return missing
}
