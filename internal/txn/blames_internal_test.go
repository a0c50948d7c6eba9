package txn

import (
	"errors"
	"fmt"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/ackmark/ackmark/internal/assignment"
	"github.com/ackmark/ackmark/internal/groupcommit"
)

// A unit fails by its own fault, by its claim's offset or by its member; it waits for a newer
// generation; it is over with its claim; and all others are tried again.
func TestBlames(t *testing.T) {
	of := NewClaims(nil)
	claim := func(s claimState, under int32) *Claim {
		return &Claim{of: of, state: s, under: groupcommit.Member{Generation: under}, core: assignment.New(assignment.Spec{Committed: -1, Limit: 1})}
	}
	fine, given, bad, large, gone := claim(held, 0), claim(abandoned, 0), claim(held, 0), claim(held, 0), claim(held, 0)
	stale, last, newer, away := claim(held, 0), claim(released, 7), claim(released, 8), claim(held, 0)
	member := groupcommit.Member{MemberID: "m", Generation: 7}
	own := errors.New("its own")
	b := newBlames(map[int]error{0: own}, &outcome{strangers: []int{1}, tooLarge: large, refused: []*refusal{
		{claims: []*Claim{bad}, blame: ofUnit, err: kerr.UnknownTopicID}, {claims: []*Claim{gone}, member: member, blame: ofMember, err: kerr.UnknownMemberID},
		{claims: []*Claim{given}, blame: ofMember, err: fmt.Errorf("one of them: %w", errGivenUp)},
		{claims: []*Claim{stale, last, newer}, member: member, blame: ofStale, err: kerr.IllegalGeneration}, {claims: []*Claim{away}, blame: ofAway, err: errAway},
	}})
	if b.units[1] == nil || len(b.refused) != 2 || len(b.gone) != 1 {
		t.Errorf("to blame are the units %v, %d offsets and %d members", b.units, len(b.refused), len(b.gone))
	}
	for name, c := range map[string]struct {
		place int
		claim *Claim
		want  fate
		err   error
	}{
		"its own fault": {0, fine, fails, own}, "not open": {1, nil, fails, ErrNotOpen}, "no input": {2, nil, goesIn, nil}, "fine": {2, fine, goesIn, nil},
		"a refused offset": {2, bad, fails, kerr.UnknownTopicID}, "a large done-set": {2, large, fails, ErrSetTooLarge}, "no member": {2, gone, fails, ErrMemberGone},
		"given up": {2, given, isOver, nil}, "an old generation": {2, stale, waits, nil}, "a newer one at its release": {2, newer, goesIn, nil},
		"none after its release": {2, last, isOver, nil}, "of a group that is away": {2, away, goesIn, nil},
	} {
		if got, err := b.of(c.place, c.claim); got != c.want || !errors.Is(err, c.err) {
			t.Errorf("%s: %v for %v, want %v for %v", name, got, err, c.want, c.err)
		}
	}
	if !last.isAbandoned() {
		t.Error("a released claim whose last generation was refused goes on")
	}
}
