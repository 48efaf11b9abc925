package hostmount

import (
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
)

const (
	// DefaultThreads is the number of mount threads where Config names none. The kernel takes one lock for all
	// mounts, so more than a few threads would only wait.
	DefaultThreads = 4

	// DefaultContext is the SELinux label of mounts where Config names none: the type that container domains may
	// read in every container policy, and an alias of Bottlerocket's local_t.
	DefaultContext = "system_u:object_r:container_file_t:s0"
)

// Config configures an Engine.
type Config struct {
	// NamespaceDir is the directory that holds the "mnt" link of the mount namespace to mount in, such as the
	// host's /proc/1/ns. Empty: the process's own mount namespace.
	NamespaceDir string

	// Root is the directory, seen in that namespace, beneath which every target lies: the kubelet's root.
	Root string

	// Threads is the number of mounts made at a time; 0 stands for DefaultThreads.
	Threads int

	// Context is the SELinux label that mounts get where SELinux is enabled; empty stands for DefaultContext.
	Context string

	// Logger receives what the engine found at start; nil is silence.
	Logger *slog.Logger
}

// complete fills in the defaults and refuses what cannot work.
func (c Config) complete() (Config, error) {
	if !filepath.IsAbs(c.Root) {
		return c, fmt.Errorf("mount root %q is not an absolute path", c.Root)
	}
	c.Root = filepath.Clean(c.Root)
	if c.NamespaceDir != "" && !filepath.IsAbs(c.NamespaceDir) {
		return c, fmt.Errorf("namespace directory %q is not an absolute path", c.NamespaceDir)
	}
	if c.Threads < 0 {
		return c, errors.New("the number of mount threads is negative")
	}
	if c.Threads == 0 {
		c.Threads = DefaultThreads
	}
	if c.Context == "" {
		c.Context = DefaultContext
	}
	if strings.Contains(c.Context, `"`) {
		return c, fmt.Errorf("the SELinux label %q contains a quotation mark", c.Context)
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c, nil
}
