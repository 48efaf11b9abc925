package registration

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/image-csi/image-csi-operator/internal/contract"
)

// The names of CSI sockets of aliases. With eight digits between them they are as long as a path in a driver's directory can
// be if the path of that driver's registration socket fits the kernel's bound.
const (
	aliasPrefix = "csi-"
	aliasSuffix = ".sock"
)

// Endpoints returns the drivers that a process serves by its names, the primary one first. All CSI sockets lie in dir, the
// primary one's directory. The kubelet accepts any path, and a directory for each alias would stay on the node when the alias is
// dropped, where it could by then be another driver's.
func Endpoints(dir string, names []string) []Driver {
	drivers := make([]Driver, 0, len(names))
	for i, name := range names {
		socket := contract.SocketName
		if i > 0 {
			socket = aliasSocket(name)
		}
		drivers = append(drivers, Driver{Name: name, Endpoint: filepath.Join(dir, socket)})
	}
	return drivers
}

// aliasSocket is the same at every start, because the kubelet uses the last registered path until it learns another.
func aliasSocket(name string) string {
	sum := sha256.Sum256([]byte(name))
	return fmt.Sprintf("%s%08x%s", aliasPrefix, sum[:4], aliasSuffix)
}

// registrationSocket is the path of a name's registration socket in the kubelet's directory of these.
func registrationSocket(registry, name string) string {
	return filepath.Join(registry, name+"-reg.sock")
}

// RemoveDropped removes what a killed process left of aliases that are no longer served: their CSI sockets in dir, and their
// registration sockets, because of which the kubelet would go on listing the driver. A process that stops in order removes them
// itself. The directory is the caller's alone, so a CSI socket there that is none of the drivers' is dead, and records an alias.
// Its registration socket stays if a process listens there, because then the name is another driver's.
func RemoveDropped(dir, registry string, drivers []Driver) error {
	found, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	var errs []error
	for _, entry := range found {
		path := filepath.Join(dir, entry.Name())
		if !isAliasSocket(entry) || slices.ContainsFunc(drivers, func(d Driver) bool { return d.Endpoint == path }) {
			continue
		}
		// The record is removed last, and stays if anything else does.
		err := removeRegistration(registry, entry.Name())
		if err == nil {
			err = removed(os.Remove(path))
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

func isAliasSocket(entry fs.DirEntry) bool {
	digits, found := strings.CutPrefix(entry.Name(), aliasPrefix)
	_, ends := strings.CutSuffix(digits, aliasSuffix)
	return found && ends && entry.Type() == fs.ModeSocket
}

// removeRegistration removes the dead registration socket of the alias that has a CSI socket.
func removeRegistration(registry, socket string) error {
	found, err := os.ReadDir(registry)
	if err != nil {
		return err
	}
	for _, entry := range found {
		name, is := strings.CutSuffix(entry.Name(), "-reg.sock")
		path := registrationSocket(registry, name)
		if !is || entry.Type() != fs.ModeSocket || aliasSocket(name) != socket {
			continue
		}
		if _, alive := holderOf(path); alive {
			continue
		}
		if err := removed(os.Remove(path)); err != nil {
			return err
		}
	}
	return nil
}

// removed counts what is gone already as success.
func removed(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
