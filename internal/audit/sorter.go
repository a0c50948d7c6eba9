package audit

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"sync"
)

const (
	mergeBuffer = 64 << 10 // of each file that is read in a merge
	minFanIn    = 8
)

// sorter sorts any number of entries in bounded memory: it sorts as many as it may keep, writes
// them to a file, and merges the files.
type sorter struct {
	dir     string
	compare func(a, b *entry) int
	limit   int // entries in memory
	fanIn   int // files read at a time

	mu      sync.Mutex
	buf     []entry
	files   []string
	spilled int // files ever written by spill
	next    int
}

// newSorter divides its memory: entries while it collects, buffers of files while it merges. They
// do not overlap.
func newSorter(dir, name string, memory int64, compare func(a, b *entry) int) (*sorter, error) {
	own, err := os.MkdirTemp(dir, name+"-")
	if err != nil {
		return nil, err
	}
	return &sorter{
		dir: own, compare: compare,
		limit: max(int(memory*2/3/entryBytes), 1), // two thirds: while the buffer grows, the old one is there too
		fanIn: max(int(memory/mergeBuffer), minFanIn),
	}, nil
}

// add takes entries from any goroutine.
func (s *sorter) add(entries ...entry) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(entries) > 0 {
		n := min(len(entries), s.limit-len(s.buf))
		s.grow(n)
		s.buf = append(s.buf, entries[:n]...)
		entries = entries[n:]
		if len(s.buf) == s.limit {
			if err := s.spill(); err != nil {
				return err
			}
		}
	}
	return nil
}

// grow keeps append from allocating beyond the limit.
func (s *sorter) grow(n int) {
	if need := len(s.buf) + n; need > cap(s.buf) {
		bigger := make([]entry, len(s.buf), min(max(2*cap(s.buf), need, 1024), max(s.limit, need)))
		copy(bigger, s.buf)
		s.buf = bigger
	}
}

func (s *sorter) sortBuffer() {
	slices.SortFunc(s.buf, func(a, b entry) int { return s.compare(&a, &b) })
}

func (s *sorter) spill() error {
	s.sortBuffer()
	w, err := s.create()
	if err != nil {
		return err
	}
	for i := range s.buf {
		if err = w.write(&s.buf[i]); err != nil {
			break
		}
	}
	s.buf = s.buf[:0]
	s.spilled++
	return errors.Join(err, w.close())
}

// each hands over all entries in order. The sorter is used up then.
func (s *sorter) each(visit func(*entry) error) error {
	defer os.RemoveAll(s.dir)
	if len(s.files) == 0 {
		s.sortBuffer()
		for i := range s.buf {
			if err := visit(&s.buf[i]); err != nil {
				return err
			}
		}
		s.buf = nil
		return nil
	}
	if len(s.buf) > 0 {
		if err := s.spill(); err != nil {
			return err
		}
	}
	s.buf = nil
	for len(s.files) > s.fanIn {
		some := s.files[:s.fanIn:s.fanIn]
		s.files = s.files[s.fanIn:]
		w, err := s.create() // it goes to the end of the line
		if err != nil {
			return err
		}
		if err := errors.Join(s.merge(some, w.write), w.close()); err != nil {
			return err
		}
		for _, name := range some {
			os.Remove(name)
		}
	}
	return s.merge(s.files, visit)
}

// runs is how many sorted files were needed.
func (s *sorter) runs() int { return s.spilled }

// merge reads sorted files as one, by a heap of their heads.
func (s *sorter) merge(files []string, visit func(*entry) error) error {
	var heap []*runReader
	defer func() {
		for _, r := range heap {
			r.file.Close()
		}
	}()
	for _, name := range files {
		f, err := os.Open(name)
		if err != nil {
			return err
		}
		r := &runReader{file: f, in: bufio.NewReaderSize(f, mergeBuffer)}
		heap = append(heap, r)
		if err := r.advance(); err != nil {
			return err
		}
	}
	less := func(i, j int) bool { return s.compare(&heap[i].head, &heap[j].head) < 0 }
	down := func(i int) {
		for {
			least := i
			for child := 2*i + 1; child <= 2*i+2 && child < len(heap); child++ {
				if less(child, least) {
					least = child
				}
			}
			if least == i {
				return
			}
			heap[i], heap[least] = heap[least], heap[i]
			i = least
		}
	}
	for i := len(heap) / 2; i >= 0; i-- {
		down(i)
	}
	for len(heap) > 0 {
		r := heap[0]
		if err := visit(&r.head); err != nil {
			return err
		}
		err := r.advance()
		if errors.Is(err, io.EOF) {
			r.file.Close()
			heap[0] = heap[len(heap)-1]
			heap = heap[:len(heap)-1]
		} else if err != nil {
			return err
		}
		if len(heap) > 0 {
			down(0)
		}
	}
	return nil
}

// runReader reads one sorted file. A file has at least one entry.
type runReader struct {
	file *os.File
	in   *bufio.Reader
	head entry
}

func (r *runReader) advance() error {
	before := r.head
	var err error
	if r.head, err = readEntry(r.in, &before); errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("%s ends in the middle: %w", r.file.Name(), err)
	}
	return err
}

type runWriter struct {
	file   *os.File
	out    *bufio.Writer
	before entry
	buf    []byte
}

func (s *sorter) create() (*runWriter, error) {
	s.next++
	f, err := os.Create(fmt.Sprintf("%s/%06d", s.dir, s.next))
	if err != nil {
		return nil, err
	}
	s.files = append(s.files, f.Name())
	return &runWriter{file: f, out: bufio.NewWriterSize(f, mergeBuffer)}, nil
}

func (w *runWriter) write(e *entry) error {
	w.buf = appendEntry(w.buf[:0], e, &w.before)
	w.before = *e
	_, err := w.out.Write(w.buf)
	return err
}

func (w *runWriter) close() error { return errors.Join(w.out.Flush(), w.file.Close()) }
