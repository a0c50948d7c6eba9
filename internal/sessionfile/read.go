package sessionfile

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"unsafe"
)

// Where things are in a file. Everything that is mapped by itself begins at a multiple of the
// largest page there is.
const (
	page        = 64 << 10
	membersAt   = page
	cellsAt     = membersAt + maxMembers*memberBytes
	chunkBytes  = page
	chunkCells  = chunkBytes / cellBytes
	maxCells    = 16 << 10 // of a file: as many assignments as a session may have
	maxFile     = cellsAt + (maxCells+chunkCells-1)/chunkCells*chunkBytes
	headerBytes = 4 << 10

	// magic is written as a number: a machine with another order of bytes reads another one.
	magic = 0x314b52414d4b4341 // "ACKMARK1", whose last character is the version
)

// errNoWill is why a file is none: it costs a repeat, never a loss.
var errNoWill = errors.New("no last will")

// encode makes the first words of a file.
func (h *header) encode() ([]byte, error) {
	text := h.append(nil)
	if len(text) > headerBytes-24 {
		return nil, fmt.Errorf("the names of a session take %d bytes of at most %d", len(text), headerBytes-24)
	}
	b := make([]byte, headerBytes)
	binary.NativeEndian.PutUint64(b, magic)
	binary.LittleEndian.PutUint64(b[8:], uint64(len(text)))
	binary.LittleEndian.PutUint64(b[16:], uint64(crc32.Checksum(text, castagnoli)))
	copy(b[24:], text)
	return b, nil
}

func decodeHeader(b []byte) (h header, err error) {
	if len(b) < headerBytes {
		return h, fmt.Errorf("%w: it is cut off", errNoWill)
	}
	if m := binary.NativeEndian.Uint64(b); m != magic {
		return h, fmt.Errorf("%w: another version, or another kind of file, has written it (%#x)", errNoWill, m)
	}
	n := binary.LittleEndian.Uint64(b[8:])
	if n > headerBytes-24 || uint64(crc32.Checksum(b[24:][:n], castagnoli)) != binary.LittleEndian.Uint64(b[16:]) || !h.parse(b[24:][:n]) {
		return h, fmt.Errorf("%w: its first part is damaged", errNoWill)
	}
	return h, nil
}

// contents is what a file says.
type contents struct {
	header
	members     []Membership
	assignments []Assignment
	damaged     int // parts that are not believed
}

// read takes a file apart. What is damaged is left out, and counted.
func read(f io.ReaderAt) (*contents, error) {
	first := make([]byte, headerBytes)
	if n, err := f.ReadAt(first, 0); err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("%w: %w", errNoWill, err)
	} else {
		first = first[:n]
	}
	h, err := decodeHeader(first)
	if err != nil {
		return nil, err
	}
	c := &contents{header: h}
	members := make(map[memberKey]string)
	buf := make([]uint64, max(memberBytes, chunkBytes)/8)
	for i := range maxMembers {
		if !fill(f, buf[:memberBytes/8], membersAt+int64(i)*memberBytes) {
			return c, nil
		}
		m := member{words: buf}
		s, ok := m.read()
		switch {
		case ok && s.ID != "":
			c.members = append(c.members, s)
			members[s.key()] = s.ID
		case !ok && (buf[copyUse] != 0 || buf[copyWords+copyUse] != 0):
			c.damaged++
		}
	}
	for at := int64(cellsAt); at < maxFile && fill(f, buf[:chunkBytes/8], at); at += chunkBytes {
		for i := range chunkCells {
			a, err := (&cell{words: buf[i*cellWords:][:cellWords]}).read()
			switch {
			case err != nil:
				c.damaged++
			case a != nil && members[memberKey{a.Group, a.Consumer}] == a.Member && a.Member != "":
				c.assignments = append(c.assignments, *a)
			}
		}
	}
	return c, nil
}

// fill reads words, zero behind the end of the file. False: there is nothing, or an error.
func fill(f io.ReaderAt, words []uint64, at int64) bool {
	b := unsafe.Slice((*byte)(unsafe.Pointer(&words[0])), len(words)*8)
	n, err := f.ReadAt(b, at)
	clear(b[n:])
	return n > 0 && (err == nil || errors.Is(err, io.EOF))
}
