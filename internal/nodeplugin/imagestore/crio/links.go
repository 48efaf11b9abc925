package crio

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"go.podman.io/storage/pkg/lockfile"
)

// repairLinks repairs what a process leaves if it is killed while the library makes a layer. The overlay driver gives each
// layer a short name: the file <root>/overlay/<layer>/link holds it, and <root>/overlay/l/<name> leads to the layer. A
// process that is killed between making that file and writing it leaves an empty one. A program that then removes that
// layer, such as CRI-O, removes "l/" itself: the names of all layers, without which no image can be used.
func repairLinks(root string) error {
	lock, err := lockfile.GetLockFile(filepath.Join(root, driverName+"-layers", "layers.lock"))
	if err != nil {
		return err
	}
	lock.Lock() // no process makes or removes a layer now
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
