package demo

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
)

// source gives the inputs one by one, in order; io.EOF after the last.
type source interface {
	next() (key, value []byte, err error)
	Close() error
}

// openSource opens the inputs and counts them. dir is for the copy of standard input.
func openSource(o Options, dir string) (source, int, error) {
	if o.Input == "" {
		n := orDefault(o.Records, DefaultRecords)
		return &synthetic{left: n}, n, nil
	}
	path, err := inputPath(o, dir)
	if err != nil {
		return nil, 0, err
	}
	n, err := scanLines(path, o.Input, o.Records)
	if err != nil {
		return nil, 0, err
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, 0, err
	}
	return &lines{file: f, r: bufio.NewReaderSize(f, 1<<16), left: n}, n, nil
}

// inputPath is a regular file with the input: standard input and pipes are copied first, since the
// lines are counted before the first is fed.
func inputPath(o Options, dir string) (string, error) {
	in := o.Stdin
	if o.Input != "-" {
		info, err := os.Stat(o.Input)
		switch {
		case err != nil:
			return "", unreadable(o.Input, err)
		case info.IsDir():
			return "", &UsageError{"--input", "is " + strconv.Quote(o.Input) + ", a directory; name a file, or - for standard input"}
		case info.Mode().IsRegular():
			return o.Input, nil
		}
		f, err := os.Open(o.Input)
		if err != nil {
			return "", unreadable(o.Input, err)
		}
		defer f.Close()
		in = f
	}
	path := filepath.Join(dir, "input")
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_EXCL, 0o600)
	if err != nil {
		return "", err
	}
	err = copyLines(f, in, o.Records, maxInputBytes)
	return path, errors.Join(err, f.Close())
}

// unreadable says why, without the system call's name.
func unreadable(name string, err error) *UsageError {
	if path, ok := errors.AsType[*fs.PathError](err); ok {
		err = path.Err
	}
	return &UsageError{"--input", fmt.Sprintf("is %q: %v; name a file that can be read, or - for standard input", name, err)}
}

// copyLines copies the first n lines (0: all) and refuses to fill the disk from an endless stream.
func copyLines(dst io.Writer, src io.Reader, n int, most int64) error {
	limited := &io.LimitedReader{R: src, N: most + 1}
	if n == 0 {
		if _, err := io.Copy(dst, limited); err != nil {
			return fmt.Errorf("read the input: %w", err)
		}
	} else {
		r := bufio.NewReaderSize(limited, 1<<16)
		for copied := 0; copied < n; {
			part, err := r.ReadSlice('\n')
			if _, werr := dst.Write(part); werr != nil {
				return werr
			}
			switch {
			case err == nil:
				copied++
			case errors.Is(err, io.EOF):
				copied = n
			case !errors.Is(err, bufio.ErrBufferFull):
				return fmt.Errorf("read the input: %w", err)
			}
		}
	}
	if limited.N <= 0 {
		return &UsageError{"--input", fmt.Sprintf("is larger than %d bytes; take the first lines of it with --records", most)}
	}
	return nil
}

// scanLines counts the lines to feed and refuses, before anything starts, one that no record can
// hold.
func scanLines(path, name string, limit int) (int, error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, unreadable(name, err)
	}
	defer f.Close()
	r := bufio.NewReaderSize(f, 1<<16)
	n, length := 0, 0
	for limit == 0 || n < limit {
		part, err := r.ReadSlice('\n')
		length += len(bytes.TrimSuffix(part, []byte("\n")))
		if length > maxLineBytes {
			return 0, &UsageError{"--input", fmt.Sprintf("%s: line %d is longer than %d bytes, more than a Kafka record takes by default (message.max.bytes); "+
				"split or remove it, or feed only the lines before it with --records %d", name, n+1, maxLineBytes, max(n, 1))}
		}
		switch {
		case err == nil:
			n, length = n+1, 0
		case errors.Is(err, io.EOF):
			if length > 0 {
				n++ // the last line has no newline
			}
			if n == 0 {
				return 0, &UsageError{"--input", name + " has no lines"}
			}
			return n, nil
		case !errors.Is(err, bufio.ErrBufferFull):
			return 0, fmt.Errorf("read %s: %w", name, err)
		}
		if n > maxRecords {
			return 0, &UsageError{"--input", fmt.Sprintf("%s has more than %d lines; take the first ones with --records", name, maxRecords)}
		}
	}
	return n, nil
}

// lines are the lines of a file, any bytes, without their newline. A line's key comes from its
// position: keys from its bytes would make one key of all empty lines, and a file's worth of work
// wait for the one worker that has it.
type lines struct {
	file    *os.File
	r       *bufio.Reader
	n, left int
}

func (l *lines) next() (key, value []byte, err error) {
	if l.left == 0 {
		return nil, nil, io.EOF
	}
	value, err = l.r.ReadBytes('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, nil, fmt.Errorf("read the input: %w", err)
	}
	if err != nil && len(value) == 0 {
		return nil, nil, errors.New("the input became shorter while it was read; feed a file that nobody writes to")
	}
	l.left--
	l.n++
	return keyName(spread(l.n)), bytes.TrimSuffix(value, []byte("\n")), nil
}

func (l *lines) Close() error { return l.file.Close() }

// synthetic are small orders.
type synthetic struct{ n, left int }

func (s *synthetic) next() (key, value []byte, err error) {
	if s.left == 0 {
		return nil, nil, io.EOF
	}
	s.left--
	s.n++
	customer := spread(s.n)
	value = fmt.Appendf(nil, "order %d of customer %d: %d pieces", s.n, customer, s.n%17+1)
	return keyName(customer), value, nil
}

func (s *synthetic) Close() error { return nil }

// spread is a key for the n-th input: evenly used, and seldom the same twice in a row.
func spread(n int) int { return int(uint32(n) * 2654435761 >> 8 % keys) }

func keyName(n int) []byte { return append([]byte("customer-"), strconv.Itoa(n)...) }
