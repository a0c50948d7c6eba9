package letters

import (
	"bytes"
	"slices"
	"strings"
	"time"
)

// Filter chooses letters. Its zero value chooses all.
type Filter struct {
	Sources []string // any of these; empty: all
	// Error is a part of the error's text, or the code.
	Error string
	// Key must be equal; nil: any.
	Key []byte
	// Since and Until bound the time of the rejection; Until is excluded.
	Since, Until time.Time
	// Offsets are the letters, by partition; nil: all.
	Offsets map[int32]map[int64]bool
}

// Chooses tells whether it chooses a letter.
func (f *Filter) Chooses(l *Letter) bool {
	switch {
	case len(f.Sources) > 0 && !slices.Contains(f.Sources, l.Source),
		f.Error != "" && f.Error != l.Code && !strings.Contains(l.Error, f.Error),
		f.Key != nil && (l.Key == nil || !bytes.Equal(f.Key, l.Key)),
		!f.Since.IsZero() && l.Rejected.Before(f.Since),
		!f.Until.IsZero() && !l.Rejected.Before(f.Until),
		f.Offsets != nil && !f.Offsets[l.Partition][l.Offset]:
		return false
	}
	return true
}

// Reason is why a letter that waits stays where it is.
type Reason string

// Reasons.
const (
	NotChosen Reason = "not chosen"
	TooOften  Reason = "given back too often"
	Unnamed   Reason = "without the header that names its topic"
	Loop      Reason = "from the dead-letter topic itself"
)

// Rule decides about a letter.
type Rule struct {
	Filter
	Topic   string // that the letters are in
	To      string // where all go; empty: each to its source
	Discard bool
	// MaxRounds is how often one letter is given back.
	MaxRounds int64
}

// Decide says where a letter goes ("" to nowhere, when it is discarded), or why it stays.
func (r *Rule) Decide(l *Letter) (to string, stays Reason) {
	to = r.To
	if to == "" {
		to = l.Source
	}
	switch {
	case !r.Chooses(l):
		return "", NotChosen
	case r.Discard:
		return "", ""
	case l.Rounds >= r.MaxRounds:
		return "", TooOften
	case to == "":
		return "", Unnamed
	case to == r.Topic:
		return "", Loop
	}
	return to, ""
}

// Offsets are letters by partition and offset, as a filter has them; nil for none.
func Offsets(pairs [][2]int64) map[int32]map[int64]bool {
	if len(pairs) == 0 {
		return nil
	}
	by := map[int32]map[int64]bool{}
	for _, p := range pairs {
		if by[int32(p[0])] == nil {
			by[int32(p[0])] = map[int64]bool{}
		}
		by[int32(p[0])][p[1]] = true
	}
	return by
}
