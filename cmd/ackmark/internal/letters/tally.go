package letters

import (
	"cmp"
	"slices"
	"strings"
	"time"
)

// Tally counts letters by where they come from and why.
type Tally struct {
	byKind map[kind]*Count
	// Letters and Unnamed count all, and those that do not say where they come from.
	Letters, Unnamed int64
}

type kind struct{ source, err, code string }

// Count is how many letters have one cause.
type Count struct {
	Source string    `json:"source"`
	Error  string    `json:"error"` // digits as #, so that errors that differ by a number are one
	Code   string    `json:"code,omitempty"`
	Count  int64     `json:"letters"`
	Oldest time.Time `json:"oldest"`
	Newest time.Time `json:"newest"`
	// Rounds is the most that one of them was given back.
	Rounds int64 `json:"rounds"`
}

const (
	maxKinds  = 1000
	maxErrors = 100 // characters of an error that tell kinds apart
	others    = "(other errors)"
)

// Add counts a letter.
func (t *Tally) Add(l *Letter) {
	if t.byKind == nil {
		t.byKind = map[kind]*Count{}
	}
	t.Letters++
	if l.Source == "" {
		t.Unnamed++
	}
	k := kind{cut(l.Source), pattern(l.Error), cut(l.Code)}
	if t.byKind[k] == nil && len(t.byKind) >= maxKinds {
		k = kind{err: others}
	}
	c := t.byKind[k]
	if c == nil {
		c = &Count{Source: k.source, Error: k.err, Code: k.code, Oldest: l.Rejected, Newest: l.Rejected}
		t.byKind[k] = c
	}
	c.Count++
	c.Rounds = max(c.Rounds, l.Rounds)
	if l.Rejected.Before(c.Oldest) {
		c.Oldest = l.Rejected
	}
	if l.Rejected.After(c.Newest) {
		c.Newest = l.Rejected
	}
}

// Counts are the kinds, most letters first.
func (t *Tally) Counts() []Count {
	all := make([]Count, 0, len(t.byKind))
	for _, c := range t.byKind {
		all = append(all, *c)
	}
	slices.SortFunc(all, func(a, b Count) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.Source, b.Source), cmp.Compare(a.Error, b.Error), cmp.Compare(a.Code, b.Code))
	})
	return all
}

func cut(s string) string {
	if len(s) > 256 {
		s = strings.ToValidUTF8(s[:256], "") + "…"
	}
	return s
}

// pattern is an error's first line with # for each run of digits.
func pattern(err string) string {
	err, _, _ = strings.Cut(err, "\n")
	var b strings.Builder
	n, digits := 0, false
	for _, r := range err {
		digit := r >= '0' && r <= '9'
		if digit && digits {
			continue
		}
		if digits = digit; digit {
			r = '#'
		}
		if n++; n > maxErrors {
			b.WriteString("…")
			break
		}
		b.WriteRune(r)
	}
	return b.String()
}
