package hostmount

import (
	"errors"
	"math"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// projects stands in for a file system with project quotas, of which few kernels have any: it keeps the projects of
// directories, by their paths, and the quotas.
type projects struct {
	of     map[string]fileAttributes
	quotas map[uint32]quota
	refuse func(q quota) error
}

// inPlaceOfTheKernel has an engine ask p.
func (p *projects) inPlaceOfTheKernel(e *Engine) {
	p.of, p.quotas = map[string]fileAttributes{}, map[uint32]quota{}
	name := func(fd int) string {
		path, _ := os.Readlink(DescriptorPath(fd))
		return path
	}
	e.kernel = quotaCalls{
		attributes:    func(fd int) (fileAttributes, error) { return p.of[name(fd)], nil },
		setAttributes: func(fd int, a fileAttributes) error { p.of[name(fd)] = a; return nil },
		quotactl: func(_ int, command uintptr, project uint32, q *quota) error {
			if command == getQuota {
				*q = p.quotas[project]
				return nil
			}
			if p.refuse != nil {
				if err := p.refuse(*q); err != nil {
					return err
				}
			}
			p.quotas[project] = *q
			return nil
		},
	}
}

// limitedPair makes an upper and a work directory and limits them. A limit that is far larger than the file system is one
// whose capacity looks like that of an enforced one.
func (p *projects) limitedPair(t *testing.T, f *fixture, name string, bytes int64) Limit {
	t.Helper()
	l := Limit{Upper: f.dir(t, name+"/upper"), Work: f.dir(t, name+"/work"), Bytes: bytes}
	if err := f.Limit(deadline(t), l); err != nil {
		t.Fatal(err)
	}
	return l
}

const exa = 1 << 60

func TestAProjectIsThatOfTheWorkDirectory(t *testing.T) {
	f, p := newFixture(t), &projects{}
	p.inPlaceOfTheKernel(f.Engine)
	attacker, victim := p.limitedPair(t, f, "attacker", exa), p.limitedPair(t, f, "victim", 2*exa)
	mine, theirs := p.of[attacker.Work].project, p.of[victim.Work].project
	if mine == theirs || !isOurs(mine) || !isOurs(theirs) || p.of[attacker.Upper] != p.of[attacker.Work] {
		t.Fatalf("projects %v", p.of)
	}

	p.of[attacker.Upper] = p.of[victim.Upper] // by the pod, through the overlay
	if _, _, ok, err := f.Limited(deadline(t), attacker.Work); err != nil || !ok {
		t.Errorf("%v, %v", ok, err)
	}
	attacker.Bytes = 3 * exa
	if err := f.Limit(deadline(t), attacker); err != nil {
		t.Fatal(err)
	}
	if got := p.of[attacker.Upper].project; got != mine {
		t.Errorf("the upper directory stays in the project of another volume: %d", got)
	}
	if p.quotas[mine].blockLimit != 3*exa/quotaBlock || p.quotas[theirs].blockLimit != 2*exa/quotaBlock {
		t.Errorf("quotas %+v", p.quotas)
	}

	p.of[attacker.Upper] = p.of[victim.Upper]
	if err := f.Unlimit(deadline(t), attacker.Work); err != nil {
		t.Fatal(err)
	}
	if p.quotas[mine].blockLimit != 0 || p.quotas[theirs].blockLimit == 0 {
		t.Errorf("after the removal of one limit: %+v", p.quotas)
	}
}

// Directories that were made when IDs followed from the volume's name keep theirs.
func TestAnEarlierProjectIsKept(t *testing.T) {
	f, p := newFixture(t), &projects{}
	p.inPlaceOfTheKernel(f.Engine)
	const earlier = firstProject + 17
	l := Limit{Upper: f.dir(t, "upper"), Work: f.dir(t, "work"), Bytes: exa}
	p.of[l.Work] = fileAttributes{project: earlier, flags: inheritProject}
	if err := f.Limit(deadline(t), l); err != nil {
		t.Fatal(err)
	}
	if p.of[l.Work].project != earlier || p.of[l.Upper].project != earlier || p.quotas[earlier].blockLimit == 0 {
		t.Errorf("projects %v, quotas %v", p.of, p.quotas)
	}
}

func TestProjectsFollowFromNothing(t *testing.T) {
	seen := map[uint32]bool{}
	for range 3 { // the same directories each time
		f, p := newFixture(t), &projects{}
		p.inPlaceOfTheKernel(f.Engine)
		l := p.limitedPair(t, f, "volume", exa)
		seen[p.of[l.Work].project] = true
	}
	if len(seen) != 3 {
		t.Errorf("three volumes drew the projects %v", seen)
	}
}

func TestAProjectInUseIsNotDrawn(t *testing.T) {
	for name, q := range map[string]quota{"with files": {inodesUsed: 1}, "with a limit": {blockLimit: 1}} {
		f, p := newFixture(t), &projects{}
		p.inPlaceOfTheKernel(f.Engine)
		tries := 0
		given := f.kernel.quotactl
		f.kernel.quotactl = func(dir int, command uintptr, project uint32, found *quota) error {
			tries++
			if command == getQuota && tries <= 3 {
				*found = q
				return nil
			}
			return given(dir, command, project, found)
		}
		p.limitedPair(t, f, "volume", exa)
		if tries != 5 { // three in vain, one that is free, and its limit
			t.Errorf("%s: %d calls", name, tries)
		}
	}
}

func TestNoLimitOverflows(t *testing.T) {
	for bytes, want := range map[int64]uint64{
		1: 1, quotaBlock: 1, quotaBlock + 1: 2, exa: exa / quotaBlock, math.MaxInt64: math.MaxInt64 / quotaBlock,
		math.MaxInt64 - quotaBlock: math.MaxInt64 / quotaBlock, math.MaxInt64 - quotaBlock - 1: math.MaxInt64/quotaBlock - 1 + 1,
	} {
		if got := blocksFor(bytes); got != want {
			t.Errorf("%d bytes are %d blocks, want %d", bytes, got, want)
		}
		if got := blocksFor(bytes) * quotaBlock; got > math.MaxInt64 {
			t.Errorf("%d bytes are %d bytes in blocks", bytes, got)
		}
	}
	if got := within(math.MaxUint64, math.MaxUint64, Capacity{Total: 10, Available: 5}); got.Total != 10 || got.Available != 0 || got.Used < 0 {
		t.Errorf("%+v", got)
	}
	if times(1<<60, 1024) != math.MaxUint64 || times(3, 5) != 15 {
		t.Error("a product overflows")
	}
}

func TestALimitThatAFileSystemCannotHoldIsToldSo(t *testing.T) {
	f, p := newFixture(t), &projects{refuse: func(q quota) error {
		if q.blockLimit > 1<<32 { // the older format of quota files (fs/quota/quota_v2.c)
			return unix.ERANGE
		}
		return nil
	}}
	p.inPlaceOfTheKernel(f.Engine)
	err := f.Limit(deadline(t), Limit{Upper: f.dir(t, "upper"), Work: f.dir(t, "work"), Bytes: math.MaxInt64})
	if !errors.Is(err, ErrLimitTooLarge) {
		t.Errorf("got %v", err)
	}
	if _, err := os.Stat(filepath.Join(f.root, "work")); err != nil {
		t.Error(err)
	}
}
