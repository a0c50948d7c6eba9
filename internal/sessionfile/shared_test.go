//go:build (linux || darwin) && !portable

package sessionfile

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
)

// Two files of one session: who counts them takes the newer one, whatever they are called.
func TestTheNewestComesFirst(t *testing.T) {
	path := t.TempDir()
	d := open(t, path)
	for _, name := range []string{"b", "c", "a"} { // the first is the oldest
		f, _ := begin(t, d)
		if err := os.Rename(f.file.(*onDisk).path, filepath.Join(path, name+suffix)); err != nil {
			t.Fatal(err)
		}
		f.Close(false)
	}
	all, refused := orphans(t, d)
	if len(all) != 3 || len(refused) != 0 {
		t.Fatalf("%d orphans, refused %v", len(all), refused)
	}
	for i, name := range []string{"a", "c", "b"} {
		if got := filepath.Base(all[i].Path); got != name+suffix {
			t.Errorf("orphan %d is %s, want %s", i, got, name)
		}
		all[i].Forget()
	}
}

// What the dead left takes memory as what the living write does: it is in the limit until it is
// gone.
func TestOrphansAreInTheLimit(t *testing.T) {
	path := t.TempDir()
	d := open(t, path)
	for range 3 {
		f, _ := begin(t, d)
		f.Close(false)
	}
	d, err := Open(path, 2*fileCost)
	if err != nil {
		t.Fatal(err)
	}
	all, _ := orphans(t, d)
	if len(all) != 3 || d.Used() < 3*headerBytes {
		t.Fatalf("%d orphans take %d", len(all), d.Used())
	}
	if _, err := d.Create(someone); !errors.Is(err, ErrFull) {
		t.Errorf("a fourth file: %v", err)
	}
	for _, o := range all {
		o.Forget()
	}
	if d.Used() != 0 {
		t.Errorf("%d left", d.Used())
	}
	f, err := d.Create(someone)
	if err != nil {
		t.Fatal(err)
	}
	f.Close(true)
}

// Between the moment in which a file is there and the one in which its writer has it, somebody may
// look for orphans, and take it away: the writer must not write into what nobody finds.
func TestAFileThatWasTakenAwayIsNobodys(t *testing.T) {
	path := t.TempDir()
	d := open(t, path)
	name := filepath.Join(path, "new"+suffix)
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	on := &onDisk{f: f, path: name}
	defer on.end(false)
	if _, refused := orphans(t, d); len(refused) != 1 {
		t.Fatalf("refused %v", refused)
	}
	if own, _ := on.own(); own {
		t.Error("its writer goes on with a file that is gone")
	}
	if err := os.WriteFile(name, nil, 0o600); err != nil { // another one has its name
		t.Fatal(err)
	}
	if own, _ := on.own(); own {
		t.Error("it takes another file for its own")
	}
}

// One sidecar has a directory, and leaves it to the next.
func TestOneOwner(t *testing.T) {
	path := t.TempDir()
	one, two := open(t, path), open(t, path)
	if err := one.Own(); err != nil {
		t.Fatal(err)
	}
	if err := two.Own(); !errors.Is(err, ErrOwned) {
		t.Errorf("a second one: %v", err)
	}
	f, err := two.Create(someone) // of its own: that is beside it
	if err != nil {
		t.Fatal(err)
	}
	f.Close(true)
	one.Release()
	if err := two.Own(); err != nil {
		t.Errorf("the first one has left: %v", err)
	}
	two.Release()
}

// purse is a room of so many bytes.
type purse struct {
	left   int64
	closed bool
}

func (p *purse) Take(n int64) bool {
	if p.left < n {
		return false
	}
	p.left -= n
	return true
}

func (p *purse) Give(n int64) { p.left += n }
func (p *purse) Close()       { p.closed = true }

// A file takes its share, and gives all of it back.
func TestAFileTakesItsShare(t *testing.T) {
	d := open(t, t.TempDir())
	const size = fileCost + 2*cellCost
	p := &purse{left: size}
	d.Share(func() Room { return p })
	f, _ := begin(t, d)
	enter := func(epoch uint64) error {
		_, err := f.Enter(&Assignment{Group: "g", Consumer: 4, Member: "m-1", Epoch: epoch, Topic: "in"})
		return err
	}
	if err := errors.Join(enter(10), f.SetMembership(member1)); err != nil {
		t.Fatal(err)
	}
	if err := enter(11); !errors.Is(err, ErrFull) || d.Used() != size {
		t.Errorf("beyond its share: %v, %d used", err, d.Used())
	}
	if _, err := d.Create(someone); !errors.Is(err, ErrFull) {
		t.Errorf("another file in it: %v", err)
	}
	f.Close(true)
	if p.left != size || !p.closed || d.Used() != 0 {
		t.Errorf("%+v, %d used", p, d.Used())
	}
}
