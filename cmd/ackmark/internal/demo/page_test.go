package demo

import (
	"bytes"
	"strings"
	"testing"
)

func TestTheBrowserOfEachSystem(t *testing.T) {
	for system, want := range map[string]string{"linux": "xdg-open", "darwin": "open", "windows": "rundll32", "freebsd": "xdg-open"} {
		cmd := browser(system, "http://127.0.0.1:1/")
		if cmd.Args[0] != want || !strings.Contains(strings.Join(cmd.Args, " "), "http://127.0.0.1:1/") {
			t.Errorf("%s: %q", system, cmd.Args)
		}
	}
}

// Nobody sits in front of a pipe.
func TestNoBrowserIsOpenedForAPipe(t *testing.T) {
	t.Setenv("DISPLAY", ":0")
	s := &show{plan: plan{Options: Options{Page: true, Stdout: new(bytes.Buffer)}}}
	if s.onDisplay() {
		t.Error("a buffer has a display")
	}
}
