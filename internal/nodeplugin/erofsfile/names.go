package erofsfile

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path"
)

// The library gives each name an inode of its own. Here the further names of a file are led to the first one's inode: their own stay
// in the image, where nothing leads to them. Offsets are those of the kernel's fs/erofs/erofs_fs.h.

const (
	superblockAt  = 1024
	blockBitsAt   = 12
	rootAt        = 14
	metadataAt    = 40
	unit          = 32 // of inode numbers
	entrySize     = 12
	isDirectory   = 2
	layoutInline  = 2
	maxDirectory  = 1 << 30 // bytes of one directory
	extendedInode = 64
)

// image is an EROFS image in a file.
type image struct {
	file     *os.File
	bits     uint8 // of the size of a block
	metadata int64 // where inodes lie
	root     uint64
}

var errNotAsWritten = errors.New("the image is not as it was written")

// joinNames leads further names of files to the inode of the first.
func joinNames(file *os.File, all map[inode]*names) error {
	if len(all) == 0 {
		return nil
	}
	firstOf := map[string]string{}
	numbers := map[string]uint64{} // of first names
	for _, n := range all {
		numbers[n.first] = 0
		for _, further := range n.further {
			firstOf[further] = n.first
		}
	}
	img, err := openImage(file)
	if err != nil {
		return err
	}
	places := map[string]int64{} // where the inode numbers of further names are
	err = img.walk(img.root, "", func(name string, number uint64, at int64) {
		if _, ok := numbers[name]; ok {
			numbers[name] = number
		} else if _, ok := firstOf[name]; ok {
			places[name] = at
		}
	})
	if err == nil && len(places) != len(firstOf) {
		err = fmt.Errorf("%w: it lacks names", errNotAsWritten)
	}
	if err != nil {
		return err
	}
	for name, at := range places {
		if _, err := file.WriteAt(binary.LittleEndian.AppendUint64(nil, numbers[firstOf[name]]), at); err != nil {
			return err
		}
	}
	return nil
}

func openImage(file *os.File) (*image, error) {
	var super [128]byte
	if _, err := file.ReadAt(super[:], superblockAt); err != nil {
		return nil, fmt.Errorf("reading its superblock: %w", err)
	}
	bits := super[blockBitsAt]
	return &image{
		file: file, bits: bits, root: uint64(binary.LittleEndian.Uint16(super[rootAt:])),
		metadata: int64(binary.LittleEndian.Uint32(super[metadataAt:])) << bits,
	}, nil
}

// walk calls visit with each name beneath a directory, its inode number, and where that is in the file.
func (i *image) walk(number uint64, dir string, visit func(name string, number uint64, at int64)) error {
	at, size, err := i.directory(number)
	if err != nil {
		return err
	}
	data := make([]byte, size)
	if _, err := i.file.ReadAt(data, at); err != nil {
		return fmt.Errorf("reading directory %q: %w", dir, err)
	}
	block := 1 << i.bits
	for start := 0; start < len(data); start += block {
		entries := data[start:min(start+block, len(data))]
		count := int(binary.LittleEndian.Uint16(entries[8:])) / entrySize
		for n := range count {
			name, err := nameIn(entries, n, count)
			if err != nil {
				return err
			}
			if name == "." || name == ".." {
				continue
			}
			child, below := binary.LittleEndian.Uint64(entries[n*entrySize:]), path.Join(dir, name)
			visit(below, child, at+int64(start+n*entrySize))
			if entries[n*entrySize+10] == isDirectory {
				if err := i.walk(child, below, visit); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// nameIn returns the name of an entry of a directory's block.
func nameIn(block []byte, n, count int) (string, error) {
	from, to := int(binary.LittleEndian.Uint16(block[n*entrySize+8:])), len(block)
	if n+1 < count {
		to = int(binary.LittleEndian.Uint16(block[(n+1)*entrySize+8:]))
	}
	if from > to || to > len(block) {
		return "", errNotAsWritten
	}
	name := block[from:to]
	for len(name) > 0 && name[len(name)-1] == 0 {
		name = name[:len(name)-1]
	}
	return string(name), nil
}

// directory returns where a directory's entries are, and how much that is. The library puts all of them beside the inode, or none.
func (i *image) directory(number uint64) (at, size int64, err error) {
	place := i.metadata + int64(number)*unit
	var header [extendedInode]byte
	if _, err := i.file.ReadAt(header[:extendedInode/2], place); err != nil {
		return 0, 0, fmt.Errorf("reading an inode: %w", err)
	}
	format, attributes := binary.LittleEndian.Uint16(header[0:]), int64(binary.LittleEndian.Uint16(header[2:]))
	size, length := int64(binary.LittleEndian.Uint32(header[8:])), int64(extendedInode/2)
	if format&1 != 0 {
		size, length = int64(binary.LittleEndian.Uint64(header[8:])), extendedInode
	}
	if size <= 0 || size > maxDirectory {
		return 0, 0, fmt.Errorf("%w: a directory has %d bytes", errNotAsWritten, size)
	}
	if format>>1&7 != layoutInline {
		return int64(binary.LittleEndian.Uint32(header[16:])) << i.bits, size, nil
	}
	if attributes > 0 {
		length += 12 + 4*(attributes-1)
	}
	return place + length, size, nil
}
