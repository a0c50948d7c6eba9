package cli

import (
	"context"
	"io"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

// Only a clear yes is one; an end of the input and a signal are none.
func TestTheQuestion(t *testing.T) {
	for answer, want := range map[string]bool{"y\n": true, "Yes\n": true, " yes \r\n": true, "n\n": false, "\n": false, "": false, "yess\n": false, "y": true} {
		var out strings.Builder
		cmd := &cobra.Command{}
		cmd.SetContext(t.Context())
		cmd.SetIn(strings.NewReader(answer))
		cmd.SetOut(&out)
		if got, err := ask(cmd); got != want || err != nil || strings.Contains(out.String(), "Nothing was done.") == want {
			t.Errorf("%q: %t, %v, %q", answer, got, err, &out)
		}
	}
	in, typing := io.Pipe()
	defer typing.Close()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	cmd := &cobra.Command{}
	cmd.SetContext(ctx)
	cmd.SetIn(in)
	cmd.SetOut(io.Discard)
	if ok, err := ask(cmd); ok || exitCode(err) != ExitKilled {
		t.Errorf("interrupted: %t, %v", ok, err)
	}
}
