package programs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// InstallDebian installs the Debian packages that are missing. The error says what to install by hand where this machine
// is no Debian or the caller is not root.
func InstallDebian(ctx context.Context, w io.Writer, names ...string) error {
	install, err := debianInstallation(ctx, w, names)
	if err != nil {
		return err
	}
	return install(ctx)
}

// debianInstallation reports on w which of the packages are missing, and returns what installs them.
func debianInstallation(ctx context.Context, w io.Writer, names []string) (install func(context.Context) error, err error) {
	missing, err := missingPackages(ctx, slices.Compact(slices.Sorted(slices.Values(names))))
	if err != nil {
		return nil, err
	}
	if len(missing) == 0 {
		return func(context.Context) error { return nil }, nil
	}
	wanted := strings.Join(missing, " ")
	if os.Geteuid() != 0 {
		return nil, fmt.Errorf("these Debian packages are missing: %s; install them (apt-get install %s) and run this again", wanted, wanted)
	}
	fmt.Fprintf(w, "installing Debian packages: %s\n", wanted)
	return func(ctx context.Context) error {
		install := append([]string{"install", "--yes", "--no-install-recommends"}, missing...)
		if _, err := aptGet(ctx, "", install...); err == nil {
			return nil
		}
		// A machine that never ran it has no lists, or old ones.
		if out, err := aptGet(ctx, "", "update"); err != nil {
			return fmt.Errorf("apt-get update: %w\n%s", err, out)
		}
		if out, err := aptGet(ctx, "", install...); err != nil {
			return fmt.Errorf("apt-get install %s: %w\n%s", wanted, err, out)
		}
		return nil
	}, nil
}

func missingPackages(ctx context.Context, names []string) ([]string, error) {
	if len(names) == 0 {
		return nil, nil
	}
	if _, err := exec.LookPath("dpkg-query"); err != nil {
		return nil, fmt.Errorf("find out whether %s are installed: this is no Debian or Ubuntu (no dpkg-query); run this on one", strings.Join(names, ", "))
	}
	var missing []string
	for _, name := range names {
		out, err := exec.CommandContext(ctx, "dpkg-query", "-W", "-f=${Status}", name).Output()
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if err != nil || !strings.HasPrefix(string(out), "install ok installed") {
			missing = append(missing, name)
		}
	}
	return missing, nil
}

func aptGet(ctx context.Context, dir string, args ...string) ([]byte, error) {
	command := exec.CommandContext(ctx, "apt-get", append([]string{"-qq", "-o", "DPkg::Lock::Timeout=300"}, args...)...)
	command.Dir = dir
	command.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive")
	return command.CombinedOutput()
}

// unpackDebian fetches packages and unpacks their programs into dir without installing them, so that they do not get
// in the way of what the machine has.
func (b *build) unpackDebian(dir string) error {
	fmt.Fprintf(b.out, "fetching %s\n", b.set.Name)
	scratch, err := os.MkdirTemp("", "imagecsi-deb-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(scratch)
	download := append([]string{"-o", "APT::Sandbox::User=root", "download"}, b.set.debian...)
	if _, err := aptGet(b.ctx, scratch, download...); err != nil {
		if out, err := aptGet(b.ctx, "", "update"); err != nil {
			return fmt.Errorf("apt-get update: %w\n%s", err, out)
		}
		if out, err := aptGet(b.ctx, scratch, download...); err != nil {
			return fmt.Errorf("apt-get download %s: %w\n%s", strings.Join(b.set.debian, " "), err, out)
		}
	}
	archives, err := filepath.Glob(filepath.Join(scratch, "*.deb"))
	if err != nil {
		return err
	}
	root := filepath.Join(scratch, "root")
	for _, archive := range archives {
		if out, err := exec.CommandContext(b.ctx, "dpkg-deb", "-x", archive, root).CombinedOutput(); err != nil {
			return fmt.Errorf("unpack %s: %w\n%s", filepath.Base(archive), err, out)
		}
	}
	return collectPrograms(root, dir)
}

func collectPrograms(root, dir string) error {
	found := 0
	for _, place := range []string{"usr/bin", "usr/sbin"} {
		programs, err := filepath.Glob(filepath.Join(root, place, "*"))
		if err != nil {
			return err
		}
		for _, program := range programs {
			content, err := os.ReadFile(program)
			if err != nil {
				return err
			}
			if err := os.WriteFile(filepath.Join(dir, filepath.Base(program)), content, 0o755); err != nil {
				return err
			}
			found++
		}
	}
	if found == 0 {
		return errors.New("the packages hold no programs")
	}
	return nil
}
