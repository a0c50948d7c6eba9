// Package smallfile reads files that people name in a configuration: secrets, certificates, the
// configuration itself. A name may lead anywhere, so that what is read is bounded, in bytes, and in
// time where it is a pipe.
package smallfile

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"syscall"
	"time"
)

// patience is how long something may take to come through a pipe, such as that of a shell's
// <(command).
const patience = 5 * time.Second

// Read is what a file holds, at most so many bytes.
func Read(path string, most int64) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|nonblocking, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if info.IsDir() {
		return nil, &fs.PathError{Op: "read", Path: path, Err: syscall.EISDIR}
	}
	pipe := info.Mode()&fs.ModeNamedPipe != 0
	if !info.Mode().IsRegular() {
		_ = f.SetReadDeadline(time.Now().Add(patience)) // where it cannot be set, it does not wait either
	}
	data, err := io.ReadAll(io.LimitReader(f, most+1))
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return nil, fmt.Errorf("%s is no file, and nothing came from it within %s; write it into a file", path, patience)
	case err != nil:
		return nil, err
	case int64(len(data)) > most:
		return nil, fmt.Errorf("%s holds more than %d bytes; is it the right file?", path, most)
	case pipe && len(data) == 0:
		return nil, fmt.Errorf("%s is a pipe to which nobody writes; write it into a file", path)
	}
	return data, nil
}
