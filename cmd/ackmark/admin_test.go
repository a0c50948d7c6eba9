package main

import (
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strings"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

var adminURL = regexp.MustCompile(`(http://127\.0\.0\.1:\d+)/`)

// look is the script command `look NAME PATH CODE [TEXT [HOST]]`: within 20 s the admin port of
// this process, whose address is in its log, answers with this code and text; called by this
// Host.
func look(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 3 {
		ts.Fatalf("usage: look name path code [text [host]]")
	}
	args = append(args, "", "")
	p := processesOf(ts).named(ts, args[0])
	last := ""
	again := time.NewTicker(20 * time.Millisecond)
	defer again.Stop()
	for deadline := time.After(20 * time.Second); ; {
		if m := adminURL.FindStringSubmatch(logOf(p)); m != nil {
			code, text, err := askAdmin(m[1]+args[1], args[4])
			if last = fmt.Sprint(code, " ", text, err); err == nil && fmt.Sprint(code) == args[2] && strings.Contains(text, args[3]) {
				return
			}
		}
		select {
		case <-again.C:
		case <-deadline:
			ts.Fatalf("%s of %s: want %s %q, got %s; it wrote:\n%s", args[1], args[0], args[2], args[3], last, logOf(p))
		}
	}
}

func askAdmin(url, host string) (code int, text string, err error) {
	r, err := http.NewRequest(http.MethodGet, url, http.NoBody)
	if err != nil {
		return 0, "", err
	}
	r.Host = host
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(body), err
}
