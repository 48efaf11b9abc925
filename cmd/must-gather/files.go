package main

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"
)

// df reports the use of the file systems in which files are, in the form of POSIX. It does not know the devices' names.
func df(args []string, s streams) error {
	flags := flagsOf("df", s)
	flags.BoolP("portability", "P", true, "the form of POSIX")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() == 0 {
		return errors.New("name a file")
	}
	fmt.Fprintln(s.out, "Filesystem 1024-blocks Used Available Capacity Mounted on")
	for _, file := range flags.Args() {
		var found unix.Statfs_t
		if err := unix.Statfs(file, &found); err != nil {
			return fmt.Errorf("ask for the file system of %s: %w", file, err)
		}
		fmt.Fprintln(s.out, usage(file, uint64(found.Frsize), found.Blocks, found.Bfree, found.Bavail))
	}
	return nil
}

// usage is df's line of a file system with so many blocks of a size, free ones, and those of them that are not kept for root.
func usage(file string, size, blocks, free, available uint64) string {
	used, percent := blocks-free, uint64(0)
	if usable := used + available; usable > 0 {
		percent = (used*100 + usable - 1) / usable
	}
	return fmt.Sprintf("- %d %d %d %d%% %s", blocks*size/1024, used*size/1024, available*size/1024, percent, file)
}

// du sums up the space that a directory takes with all that is in it, in units of 1024 bytes.
func du(args []string, s streams) error {
	flags := flagsOf("du", s)
	flags.BoolP("summarize", "s", true, "one line")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() != 1 {
		return errors.New("name a directory")
	}
	var blocks int64 // of 512 bytes
	err := filepath.WalkDir(flags.Arg(0), func(_ string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		if stat, is := info.Sys().(*syscall.Stat_t); is {
			blocks += stat.Blocks
		}
		return nil
	})
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(s.out, "%d\t%s\n", blocks/2, flags.Arg(0))
	return err
}

// syncDisks has everything written to disks.
func syncDisks(args []string, _ streams) error {
	if len(args) > 0 {
		return errors.New("this one takes no arguments")
	}
	unix.Sync()
	return nil
}

// tarFiles packs files and directories with all that is in them, and writes the archive to the standard output.
func tarFiles(args []string, s streams) error {
	flags := flagsOf("tar", s)
	create := flags.BoolP("create", "c", false, "pack")
	dir := flags.StringP("directory", "C", ".", "where the files are")
	version := flags.Bool("version", false, "say what this is")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if *version {
		_, err := fmt.Fprintln(s.out, "tar (image-csi-operator must-gather)")
		return err
	}
	if !*create || flags.NArg() == 0 {
		return errors.New("this one packs only: tar -C DIR -c FILE")
	}
	packed := tar.NewWriter(s.out)
	for _, name := range flags.Args() {
		if err := pack(packed, *dir, name); err != nil {
			return err
		}
	}
	return packed.Close()
}

func pack(packed *tar.Writer, dir, name string) error {
	root := filepath.Join(dir, name)
	return filepath.WalkDir(root, func(file string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		below, err := filepath.Rel(root, file)
		if err != nil {
			return err
		}
		if err := packEntry(packed, file, path.Join(name, filepath.ToSlash(below)), entry); err != nil {
			return fmt.Errorf("pack %s: %w", file, err)
		}
		return nil
	})
}

func packEntry(packed *tar.Writer, file, name string, entry fs.DirEntry) error {
	info, err := entry.Info()
	if err != nil {
		return err
	}
	target := ""
	if info.Mode().Type() == fs.ModeSymlink {
		if target, err = os.Readlink(file); err != nil {
			return err
		}
	}
	header, err := tar.FileInfoHeader(info, target)
	if err != nil {
		return err
	}
	if header.Name = name; info.IsDir() {
		header.Name += "/"
	}
	if err := packed.WriteHeader(header); err != nil || !info.Mode().IsRegular() {
		return err
	}
	in, err := os.Open(file)
	if err != nil {
		return err
	}
	defer in.Close()
	_, err = io.Copy(packed, in)
	return err
}
