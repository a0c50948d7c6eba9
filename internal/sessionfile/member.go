package sessionfile

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
)

const (
	maxMembers  = 64
	memberBytes = 16 << 10
	copyBytes   = memberBytes / 2
	copyWords   = copyBytes / 8
	copyTaken   = 4 << 10 // of a copy: blocks that are there before they are mapped
	copyRoom    = copyTaken - copyText*8
)

// Words of a copy of a membership.
const (
	copyUse = iota // 0: not whole. Else it counts up, and the higher of two copies counts
	copySum        // as wordSum
	copyText
)

// member is a place for a membership: two copies of it, in words of the mapping.
type member struct {
	words []uint64
	after func() // as in cell
}

func (m *member) put(i int, w uint64) {
	(&cell{words: m.words, after: m.after}).put(i, w)
}

var errMemberText = errors.New("a membership's names are too long for the session file")

// write replaces what is there: the older copy, so that a kill on the way leaves the newer one.
func (m *member) write(s *Membership) error {
	a, b := m.words[copyUse], m.words[copyWords+copyUse]
	at := 0
	if a > b {
		at = copyWords
	}
	use := max(a, b) + 1
	text := s.append(nil)
	text.number(use)
	if len(text) > copyRoom {
		return errMemberText
	}
	m.put(at+copyUse, 0)
	m.put(at+copySum, uint64(crc32.Checksum(text, castagnoli))<<32|uint64(len(text)))
	for len(text)%8 != 0 {
		text = append(text, 0)
	}
	for i := 0; i < len(text); i += 8 {
		m.put(at+copyText+i/8, binary.LittleEndian.Uint64(text[i:]))
	}
	m.put(at+copyUse, use)
	return nil
}

// read returns the newer of the copies that are whole, or false.
func (m *member) read() (found Membership, ok bool) {
	var newest uint64
	for at := 0; at < 2*copyWords; at += copyWords {
		use, sum := m.words[at+copyUse], m.words[at+copySum]
		n := int(uint32(sum))
		if use <= newest || n > copyRoom {
			continue
		}
		var text []byte
		for i := 0; i < n; i += 8 {
			text = binary.LittleEndian.AppendUint64(text, m.words[at+copyText+i/8])
		}
		var s Membership
		if text = text[:n]; crc32.Checksum(text, castagnoli) == uint32(sum>>32) && s.parse(text, use) {
			found, newest, ok = s, use, true
		}
	}
	return found, ok
}
