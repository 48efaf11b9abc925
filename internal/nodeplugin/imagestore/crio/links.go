package crio

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"go.podman.io/storage/pkg/lockfile"
)

// repairLinks puts right what a process leaves that is killed while the library makes a layer. The overlay driver gives
// each layer a short name: the file <root>/overlay/<layer>/link holds it, and <root>/overlay/l/<name> leads to the layer.
// Killed between making that file and filling it, a process leaves an empty one; and who removes that layer, be it
// CRI-O, removes "l/" and nothing behind it: the names of all layers. Images lose their use with them.
func repairLinks(root string) error {
	lock, err := lockfile.GetLockFile(filepath.Join(root, driverName+"-layers", "layers.lock"))
	if err != nil {
		return err
	}
	lock.Lock() // nobody makes or removes a layer now
	defer lock.Unlock()
	files, err := filepath.Glob(filepath.Join(root, driverName, "*", "link"))
	if err != nil {
		return err
	}
	var errs []error
	for _, file := range files {
		errs = append(errs, repairLink(filepath.Join(root, driverName, "l"), file))
	}
	return errors.Join(errs...)
}

func repairLink(names, file string) error {
	name, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	if len(name) == 0 {
		return os.Remove(file)
	}
	layer := filepath.Base(filepath.Dir(file))
	link := filepath.Join(names, filepath.Base(string(name)))
	if _, err := os.Lstat(link); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.MkdirAll(names, 0o755); err != nil {
		return err
	}
	if err := os.Symlink(filepath.Join("..", layer, "diff"), link); err != nil {
		return fmt.Errorf("naming layer %s again: %w", layer, err)
	}
	return nil
}
