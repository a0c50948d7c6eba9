package txn

import (
	"context"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
)

// The label of a reason is one of few, whatever is in the error's text.
func TestReasonsOfAborts(t *testing.T) {
	for want, err := range map[string]error{
		"ASSIGNMENT_LOST": fmt.Errorf("of %d: %w", 7, errGivenUp), "MEMBER_FENCED": &MemberError{"m-123", kerr.UnknownMemberID}, "INPUT_NOT_OPEN": ErrNotOpen,
		"DONE_SET_TOO_LARGE": fmt.Errorf("of %d: %w", 7, ErrSetTooLarge), "GROUP_AWAY": errAway, "CLOSED": ErrClosed, "TRANSACTIONAL_ID_TAKEN": fmt.Errorf("%w %q", ErrTaken, "id-0"), "TOO_SLOW": fmt.Errorf("%w, after 9s", context.DeadlineExceeded),
		"NETWORK": fmt.Errorf("broker 3: %w", io.EOF), "MESSAGE_TOO_LARGE": &RecordError{Err: kerr.MessageTooLarge}, "_OTHER": fmt.Errorf("no such partition of %q", "t"),
	} {
		if got := (Abort{Err: err}).why(); got != want {
			t.Errorf("%v: %s, want %s", err, got, want)
		}
	}
}

// Of a storm every tenth second has a line, which counts the others; those behind the last one are
// told by a transaction that is committed.
func TestAbortsInTheLogAreCounted(t *testing.T) {
	var p paced
	now := time.Unix(1_000_000, 0)
	if _, due := p.next(now, false); due {
		t.Error("a commit is told without an abort")
	}
	lines, counted := 0, 0
	for range 600 { // a minute
		if more, due := p.next(now, true); due {
			lines++
			counted += more
		}
		if _, due := p.next(now, false); due {
			t.Error("the end of what goes on")
		}
		now = now.Add(100 * time.Millisecond)
	}
	if lines != 6 {
		t.Errorf("%d lines in a minute of aborts", lines)
	}
	more, due := p.next(now.Add(logPace), false)
	if !due || lines+counted+more != 600 {
		t.Errorf("%d lines, that count %d and %d more, of 600", lines, counted, more)
	}
	if _, due := p.next(now.Add(time.Hour), false); due {
		t.Error("its end is told twice")
	}
}

// A done-set that the brokers refuse halts its partition for good: who reads that has to know what
// to set.
func TestRefusedDoneSetSaysWhatToSet(t *testing.T) {
	for err, says := range map[error]bool{fmt.Errorf("offset: %w", kerr.OffsetMetadataTooLarge): true, kerr.UnknownTopicID: false} {
		text := (&OffsetError{Topic: "orders", Partition: 7, Err: err}).Error()
		if strings.Contains(text, "offset.metadata.max.bytes") != says || !strings.Contains(text, `topic "orders" partition 7`) {
			t.Errorf("%v: %s", err, text)
		}
	}
}
