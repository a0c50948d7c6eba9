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
	}
}

// Who starts without being able to read learns it.
func TestTheFirstReadMustSucceed(t *testing.T) {
	gone := errors.New("gone")
	if _, err := kept.New("x", func() (int, error) { return 0, gone }, slog.Default()); !errors.Is(err, gone) {
		t.Errorf("%v", err)
	}
}
