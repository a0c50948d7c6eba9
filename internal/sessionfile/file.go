package sessionfile

import (
	"errors"
	"fmt"
	"sync"
)

// File is a session's. Its methods may be called from any goroutine; nil is a session that is not
// written down.
type File struct {
	dir  *Dir
	room Room // within the directory's limit; nil: what that leaves

	mu      sync.Mutex
	file    storage
	members map[memberKey]*member
	places  int       // of memberships that were used once
	left    []*member // of them, those of memberships that are over
	spare   []*cell   // that are free
	cells   int       // that were made
	chunk   *mapping
	top     *mapping // of the header and the memberships
	use     uint64
	cost    int64 // what it takes of the directory's limit and its room
	closed  bool
}

// storage is the file itself: where to read it stands in read.go.
type storage interface {
	take(at, n int64) error // makes sure that there are blocks for it
	mapping(at, n int64) (*mapping, error)
	end(remove bool)
}

// mapping is memory that a file is mapped to. It lives as long as somebody has it.
type mapping struct{ words []uint64 }

// ErrFull says that there is no room: by the directory's limit, or in its file system.
var ErrFull = errors.New("the session files take as much as they may, or this one as much as is its share (limits.state_bytes of a sidecar)")

const (
	fileCost   = 12 << 10 // with a membership
	memberCost = 2 * copyTaken
	cellCost   = 8 << 10 // two pages, or a part of them
)

// SetMembership writes a membership, or a newer state of it.
func (f *File) SetMembership(m Membership) error {
	if f == nil {
		return nil
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return nil
	}
	at := f.members[m.key()]
	if at == nil {
		if m.ID == "" {
			return nil
		}
		var err error
		if at, err = f.place(); err != nil {
			return err
		}
		f.members[m.key()] = at
	}
	if m.ID == "" {
		delete(f.members, m.key())
		f.left = append(f.left, at)
	}
	return at.write(&m)
}

// place makes room for a membership.
func (f *File) place() (*member, error) {
	if n := len(f.left); n > 0 {
		at := f.left[n-1]
		f.left = f.left[:n-1]
		return at, nil
	}
	if f.places == maxMembers {
		return nil, fmt.Errorf("more than %d memberships in one session", maxMembers)
	}
	var cost int64
	if f.places > 0 { // the first one is in fileCost
		cost = memberCost
	}
	if !f.charge(cost) {
		return nil, ErrFull
	}
	from := membersAt + int64(f.places)*memberBytes
	for _, half := range []int64{0, copyBytes} {
		if err := f.file.take(from+half, copyTaken); err != nil {
			f.giveBack(cost)
			return nil, err
		}
	}
	f.places++
	return &member{words: f.top.words[from/8:][:memberBytes/8]}, nil
}

// Enter writes an assignment. The membership that it names is there already.
func (f *File) Enter(a *Assignment) (*Entry, error) {
	if f == nil {
		return nil, nil
	}
	if err := a.fits(); err != nil {
		return nil, err
	}
	if a.Start < 0 {
		return nil, fmt.Errorf("%.249q partition %d begins at offset %d", a.Topic, a.Partition, a.Start)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return nil, nil
	}
	if len(f.spare) == 0 {
		if err := f.grow(); err != nil {
			return nil, err
		}
	}
	e := f.spare[len(f.spare)-1]
	f.spare = f.spare[:len(f.spare)-1]
	f.use++
	e.claim(f.use, a)
	return &Entry{file: f, cell: e}, nil
}

// grow makes another cell.
func (f *File) grow() error {
	if f.cells == maxCells {
		return fmt.Errorf("more than %d assignments in one session", maxCells)
	}
	if !f.charge(cellCost) {
		return ErrFull
	}
	chunk, i := int64(f.cells/chunkCells), int64(f.cells%chunkCells)
	at := cellsAt + chunk*chunkBytes
	err := f.file.take(at+i*cellBytes, cellBytes)
	if err == nil && i == 0 {
		f.chunk, err = f.file.mapping(at, chunkBytes)
	}
	if err != nil {
		f.giveBack(cellCost)
		return err
	}
	f.cells++
	f.spare = append(f.spare, &cell{words: f.chunk.words[i*cellWords:][:cellWords], of: f.chunk})
	return nil
}

// Close ends the writing. The file is removed if its session has ended in good order; else it stays
// for who comes next.
func (f *File) Close(remove bool) {
	if f == nil {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return
	}
	f.closed = true
	f.file.end(remove)
	f.release()
	f.dir.hasRoom()
}

// charge takes bytes of the file's room and of the directory's limit. False: there are not as many.
func (f *File) charge(n int64) bool {
	if f.room != nil && !f.room.Take(n) {
		return false
	}
	if !f.dir.charge(n) {
		if f.room != nil {
			f.room.Give(n)
		}
		return false
	}
	f.cost += n
	return true
}

// giveBack gives bytes back that were not used.
func (f *File) giveBack(n int64) {
	f.cost -= n
	f.dir.charge(-n)
	if f.room != nil {
		f.room.Give(n)
	}
}

// release gives back all.
func (f *File) release() {
	f.giveBack(f.cost)
	if f.room != nil {
		f.room.Close()
	}
}

// Entry is an assignment in the file. Its methods are called by one goroutine at a time; nil is one
// that is not written down.
type Entry struct {
	file *File
	cell *cell
}

// Advance notes that everything below the offset is done. A lower one changes nothing.
func (e *Entry) Advance(mark int64) {
	if e != nil && e.cell != nil {
		e.cell.advance(mark)
	}
}

// Done notes that the offsets in [first, last] are done, as far as they are above the mark and not
// more than [Window] from it.
func (e *Entry) Done(first, last int64) {
	if e != nil && e.cell != nil {
		e.cell.done(first, last)
	}
}

// Release takes the assignment out of the file. What comes later changes nothing.
func (e *Entry) Release() {
	if e == nil || e.cell == nil {
		return
	}
	c := e.cell
	e.cell = nil
	c.free()
	e.file.mu.Lock()
	defer e.file.mu.Unlock()
	e.file.spare = append(e.file.spare, c)
}
