package kept_test

import (
	"errors"
	"log/slog"
	"strings"
	"testing"

	"github.com/ackmark/ackmark/internal/kept"
)

// What cannot be read leaves what was read before in force; the log says so once for an error, and
// again after it was mended.
func TestKept(t *testing.T) {
	said, err := 1, error(nil)
	var log strings.Builder
	k, failed := kept.New("the numbers", func() (int, error) { return said, err }, slog.Default())
	if failed != nil {
		t.Fatal(failed)
	}
	k.LogTo(slog.New(slog.NewTextHandler(&log, nil)))
	if n := kept.Stale(); n != 0 {
		t.Errorf("%d are stale before anything failed", n)
	}
	for i, step := range []struct {
		said  int
		err   error
		want  int
		lines int
	}{
		{2, nil, 2, 0},
		{0, errors.New("gone"), 2, 1},
		{0, errors.New("gone"), 2, 1},
		{0, errors.New("torn"), 2, 2},
		{3, nil, 3, 2},
		{0, errors.New("torn"), 3, 3},
	} {
		said, err = step.said, step.err
		if got := k.Current(); got != step.want {
			t.Errorf("step %d: %d is in force, want %d", i, got, step.want)
		}
		if n := strings.Count(log.String(), "the numbers cannot be read: the ones before stay in force"); n != step.lines {
			t.Errorf("step %d: %d lines, want %d:\n%s", i, n, step.lines, log.String())
		}
		want := 0
		if step.err != nil {
			want = 1
		}
		if n := kept.Stale(); n != want {
			t.Errorf("step %d: %d are stale, want %d", i, n, want)
		}
	}
	said, err = 4, nil
	if n := kept.Stale(); n != 0 || k.Current() != 4 {
		t.Errorf("%d are stale after they were mended, and nobody needed them", n)
	}
}

// What was replaced by a new configuration is not stale any more, whoever still asks for it.
func TestWhatIsDroppedIsNotStale(t *testing.T) {
	var err error
	k, failed := kept.New("the numbers", func() (int, error) { return 1, err }, slog.New(slog.DiscardHandler))
	if failed != nil {
		t.Fatal(failed)
	}
	err = errors.New("gone")
	if k.Current(); kept.Stale() != 1 {
		t.Fatal("it is not stale")
	}
	k.Drop()
	if n := kept.Stale(); n != 0 {
		t.Errorf("%d are stale", n)
	}
	err = errors.New("torn")
	if k.Current() != 1 || kept.Stale() != 0 {
		t.Errorf("it is stale again")
	}
}

// Who starts without being able to read learns it.
func TestTheFirstReadMustSucceed(t *testing.T) {
	gone := errors.New("gone")
	if _, err := kept.New("x", func() (int, error) { return 0, gone }, slog.Default()); !errors.Is(err, gone) {
		t.Errorf("%v", err)
	}
}
