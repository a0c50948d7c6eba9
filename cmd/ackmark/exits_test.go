package main

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// ackmark runs this binary as the command does; see TestMain.
func ackmark(t *testing.T, args ...string) (output string, code int) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), self)
	cmd.Args = append([]string{"ackmark"}, args...)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir()}
	if bug, planted := os.LookupEnv("ACKMARK_PLANTED"); planted { // of internal/proof/mutants
		cmd.Env = append(cmd.Env, "ACKMARK_PLANTED="+bug)
	}
	out, err := cmd.CombinedOutput()
	if _, exited := errors.AsType[*exec.ExitError](err); err != nil && !exited {
		t.Fatal(err)
	}
	return string(out), cmd.ProcessState.ExitCode()
}

var exitLine = regexp.MustCompile(`(?m)^  +(\d+)  \S.*$`)

// exitCodes are those that a command's help names.
func exitCodes(t *testing.T, command string) []int {
	t.Helper()
	help, code := ackmark(t, append(strings.Fields(command), "--help")...)
	_, list, ok := strings.Cut(help, "\nExit codes:\n")
	if code != 0 || !ok {
		t.Fatalf("%s --help ends with %d and names no exit codes:\n%s", command, code, help)
	}
	var codes []int
	for _, line := range exitLine.FindAllStringSubmatch(list, -1) {
		n, err := strconv.Atoi(line[1])
		if err != nil {
			t.Fatal(err)
		}
		codes = append(codes, n)
	}
	return codes
}

// Each exit code that a help names is returned, here or in the script named; each code that is
// returned is named.
func TestExitCodes(t *testing.T) {
	const nobody = "--listen=unix:///nowhere/s.sock"
	type run struct {
		args   string
		script string // whose text, a regular expression, shows this code
		shows  string
	}
	for command, codes := range map[string]map[int]run{
		"": {0: {args: ""}, 1: {args: "status " + nobody}, 2: {args: "sidecra"}, 3: {script: "undelivered", shows: `exits sidecar 3`}, 130: {script: "interrupt", shows: `exits demo 130`}},
		"demo": {
			0: {script: "demo", shows: `(?m)^exec ackmark demo --json`}, 1: {args: "demo child"}, 2: {args: "demo --kills -1"},
			130: {script: "interrupt", shows: `exits demo 130`},
		},
		"sidecar": {
			0: {script: "sidecar", shows: `exits sidecar 0`}, 1: {args: "sidecar --brokers a:1 --listen unix:///proc/none/s.sock"}, 2: {args: "sidecar"},
			3: {script: "undelivered", shows: `exits sidecar 3`}, 130: {script: "interrupt", shows: `exits sidecar 130`},
		},
		"bench": {
			0: {script: "interrupt", shows: `(?m)^exec ackmark bench`}, 1: {args: "bench --brokers 127.0.0.1:1 --only library"}, 2: {args: "bench --size 0"},
			130: {script: "interrupt", shows: `exits bench 130`},
		},
		"chaos": {
			0: {script: "chaos", shows: `(?m)^exec ackmark chaos --embedded`}, 1: {args: "chaos child"}, 2: {args: "chaos --embedded --faults=99"},
			130: {script: "interrupt", shows: `exits chaos 130`},
		},
		"audit": {
			0: {script: "audit", shows: `(?m)^exec ackmark audit .* --strict$`}, 1: {script: "audit", shows: `--strict >strict.txt; echo code \$\?'\nstdout 'code 1'`},
			2: {args: "audit"}, 130: {script: "interrupt", shows: `exits audit 130`},
		},
		"dlq": {0: {args: "dlq"}, 2: {args: "dlq list"}},
		"dlq ls": {
			0: {script: "dlq", shows: `(?m)^exec ackmark dlq ls .*\nstdout '\^dead: 20 letters wait`}, 1: {args: "dlq ls --topic dead --kafka security.protocol=ssl --brokers 127.0.0.1:1"}, 2: {args: "dlq ls"},
			130: {script: "interrupt", shows: `exits ls 130`},
		},
		"dlq show": {
			0: {script: "dlq", shows: `(?m)^exec ackmark dlq show`}, 1: {args: "dlq show --topic dead --brokers 127.0.0.1:1"}, 2: {args: "dlq show"},
			130: {script: "interrupt", shows: `exits show 130`},
		},
		"dlq redrive": {
			0: {script: "dlq", shows: `(?m)^exec ackmark dlq redrive .* --yes`}, 1: {args: "dlq redrive --topic dead --brokers 127.0.0.1:1"}, 2: {args: "dlq redrive"},
			130: {script: "interrupt", shows: `exits redrive 130`},
		},
		"dlq discard": {
			0: {script: "dlq", shows: `(?m)^exec ackmark dlq discard .* --yes`}, 1: {args: "dlq discard --topic dead --brokers 127.0.0.1:1"}, 2: {args: "dlq discard"},
			130: {script: "interrupt", shows: `exits discard 130`},
		},
		"lag": {
			0: {script: "lag", shows: `(?m)^exec ackmark lag .* --window 0s$`}, 1: {script: "lag", shows: `--group g; echo code \$\?'\nstdout 'code 1'`}, 2: {args: "lag"},
			130: {script: "interrupt", shows: `exits lag 130`},
		},
		"status": {
			0: {script: "sidecar", shows: `(?m)^exec ackmark status`}, 1: {args: "status " + nobody}, 2: {args: "status -o xml"},
			130: {script: "interrupt", shows: `exits status 130`},
		},
		"top": {
			0: {script: "get", shows: `(?m)^exec ackmark top`}, 1: {args: "top " + nobody}, 2: {args: "top --every 1ms"}, 130: {script: "interrupt", shows: `exits top 130`},
		},
		"explain": {
			0: {script: "pod", shows: `(?m)^exec ackmark explain`}, 1: {args: "explain orders 0 " + nobody}, 2: {args: "explain orders"},
			130: {script: "interrupt", shows: `exits explain 130`},
		},
		"get": {0: {args: "get"}, 2: {args: "get x"}},
		"get sessions": {
			0: {script: "get", shows: `(?m)^exec ackmark get sessions`}, 1: {args: "get sessions " + nobody}, 2: {args: "get sessions -o xml"}, 130: {script: "interrupt", shows: `exits get 130`},
		},
		"get partitions": {
			0: {script: "get", shows: `(?m)^exec ackmark get partitions`}, 1: {args: "get partitions " + nobody}, 2: {args: "get partitions -o xml"}, 130: {script: "interrupt", shows: `exits get 130`},
		},
		"get queues": {
			0: {script: "get", shows: `(?m)^exec ackmark get queues`}, 1: {args: "get queues " + nobody}, 2: {args: "get queues -o xml"}, 130: {script: "interrupt", shows: `exits get 130`},
		},
		"get wills": {
			0: {script: "get", shows: `(?m)^exec ackmark get wills`}, 1: {args: "get wills " + nobody}, 2: {args: "get wills -o xml"}, 130: {script: "interrupt", shows: `exits get 130`},
		},
		"get lag": {
			0: {script: "get", shows: `(?m)^exec ackmark get lag`}, 1: {args: "get lag " + nobody}, 2: {args: "get lag -o xml"}, 130: {script: "interrupt", shows: `exits get 130`},
		},
		"get routes": {
			0: {script: "route", shows: `(?m)^exec ackmark get routes`}, 1: {args: "get routes " + nobody}, 2: {args: "get routes -o xml"}, 130: {script: "interrupt", shows: `exits get 130`},
		},
		"set": {0: {args: "set"}, 2: {args: "set x"}},
		"set route": {
			0: {script: "route", shows: `(?m)^exec ackmark set route`}, 1: {args: "set route a b direct " + nobody}, 2: {args: "set route"},
			130: {script: "interrupt", shows: `exits route 130`},
		},
		"healthcheck": {
			0: {script: "sidecar", shows: `(?m)^exec ackmark healthcheck`}, 1: {args: "healthcheck " + nobody}, 2: {args: "healthcheck --service x"},
			130: {script: "interrupt", shows: `exits healthcheck 130`},
		},
		"config":       {0: {args: "config"}, 2: {args: "config x"}},
		"config check": {0: {args: "config check --brokers a:1"}, 2: {args: "config check"}},
		"config echo":  {0: {args: "config echo --brokers a:1"}, 2: {args: "config echo --brokers a:1 --limits-bytes 1"}},
		"version":      {0: {args: "version"}, 2: {args: "version x"}},
	} {
		t.Run("ackmark "+command, func(t *testing.T) {
			named := exitCodes(t, command)
			if all := slices.Sorted(maps.Keys(codes)); !slices.Equal(named, all) {
				t.Errorf("the help names %v, here are %v", named, all)
			}
			for want, r := range codes {
				if r.script != "" {
					shown(t, r.script, r.shows)
					continue
				}
				if out, got := ackmark(t, strings.Fields(r.args)...); got != want {
					t.Errorf("ackmark %s: exit code %d, want %d\n%s", r.args, got, want, out)
				}
			}
		})
	}
	help, _ := ackmark(t, "--help")
	for _, c := range commands() {
		if !c.Hidden && !strings.Contains(help, fmt.Sprintf("  %s ", c.Name())) {
			t.Errorf("%s is not in the help", c.Name())
		}
		exitCodes(t, c.Name())
	}
}

func shown(t *testing.T, script, pattern string) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", script+".txtar"))
	if err != nil {
		t.Fatal(err)
	}
	if !regexp.MustCompile(pattern).Match(text) {
		t.Errorf("testdata/%s.txtar does not show %q", script, pattern)
	}
}
