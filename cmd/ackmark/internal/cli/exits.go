package cli

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"
)

// Exit codes of ackmark.
const (
	ExitClean       = 0
	ExitFailed      = 1
	ExitUsage       = 2   // a flag, variable or configuration file is wrong
	ExitUndelivered = 3   // the sidecar drained, and some records were left
	ExitKilled      = 130 // interrupted: a second SIGINT, or the first signal in a command that ends with no result then
)

// exit is an exit code and what it says.
type exit struct {
	code  int
	means string
}

const (
	wrongUsage  = "wrong usage: a flag, a variable or a file, named in the error"
	interrupted = "interrupted (Ctrl-C, SIGTERM, SIGHUP)"
	unanswered  = "no sidecar answered; the error says why"
)

// exits are the exit codes of every command, for its help; a test compares them with what the
// commands return.
var exits = map[string][]exit{
	"ackmark": {
		{ExitClean, "clean; lag: ok or draining"}, {ExitFailed, "failed; lag: growing or stalled"}, {ExitUsage, "wrong usage or configuration; audit: not decided; lag: unknown"},
		{ExitUndelivered, "sidecar: drained with undelivered records"}, {ExitKilled, "interrupted"},
	},
	"ackmark demo": {
		{ExitClean, "Ackmark lost nothing, whatever auto-commit did"},
		{ExitFailed, "Ackmark lost, altered or reordered an input, or left some undone (--memory-limit: also repeated one, or exceeded the limit); or the show could not go on"},
		{ExitUsage, wrongUsage}, {ExitKilled, interrupted},
	},
	"ackmark sidecar": {
		{ExitClean, "stopped by a signal, and all that was accepted is delivered"}, {ExitFailed, "it could not serve: the socket, the port"}, {ExitUsage, wrongUsage},
		{ExitUndelivered, "stopped, and some records were undelivered when --drain-timeout ended"}, {ExitKilled, "a second Ctrl-C ended it at once"},
	},
	"ackmark bench": {
		{ExitClean, "measured, and every count was right; a missed goal is no failure"}, {ExitFailed, "a count was wrong, or it could not be measured"},
		{ExitUsage, wrongUsage}, {ExitKilled, interrupted},
	},
	"ackmark chaos": {
		{ExitClean, "every promise was kept"}, {ExitFailed, "a promise was broken, or a fault could not be made"}, {ExitUsage, wrongUsage}, {ExitKilled, interrupted},
	},
	"ackmark audit": {
		{ExitClean, "CLEAN: nothing is lost; with --exactly-once EXACTLY ONCE"}, {ExitFailed, "LOST; with --strict also NOT STRICTLY CLEAN, with --exactly-once NOT EXACTLY ONCE"},
		{ExitUsage, "UNDECIDED, it could not be audited, or " + wrongUsage}, {ExitKilled, interrupted},
	},
	"ackmark dlq": {{ExitClean, "printed"}, {ExitUsage, wrongUsage}},
	"ackmark dlq ls": {
		{ExitClean, "counted, whether letters wait or not"}, {ExitFailed, "the topic or the position could not be read"}, {ExitUsage, wrongUsage}, {ExitKilled, interrupted},
	},
	"ackmark dlq show": {
		{ExitClean, "shown, if there is one"}, {ExitFailed, "the topic or the position could not be read"}, {ExitUsage, wrongUsage}, {ExitKilled, interrupted},
	},
	"ackmark dlq redrive": {
		{ExitClean, "all chosen letters are redriven; or none was chosen, or it only said what it would do"},
		{ExitFailed, "some are not, or the audit misses one or could not be made: the error says which"}, {ExitUsage, wrongUsage},
		{ExitKilled, interrupted + "; what was redriven stays so"},
	},
	"ackmark dlq discard": {
		{ExitClean, "all chosen letters are discarded; or none was chosen, or it only said what it would do"}, {ExitFailed, "some are not, the error says why"}, {ExitUsage, wrongUsage},
		{ExitKilled, interrupted + "; what was discarded stays so"},
	},
	"ackmark man":      {{ExitClean, "written"}, {ExitFailed, "the directory could not be written"}, {ExitUsage, wrongUsage}},
	"ackmark baseline": {{ExitClean, "printed"}, {ExitUsage, wrongUsage}},
	"ackmark baseline record": {
		{ExitClean, "measured and written"}, {ExitFailed, "a source did not answer, or the file could not be written"}, {ExitUsage, wrongUsage}, {ExitKilled, interrupted},
	},
	"ackmark baseline compare": {{ExitClean, "compared"}, {ExitFailed, "a file could not be read"}, {ExitUsage, wrongUsage}},
	"ackmark lag": {
		{ExitClean, "ok or draining"}, {ExitFailed, "growing or stalled"}, {ExitUsage, "unknown, the group could not be read, or " + wrongUsage}, {ExitKilled, interrupted},
	},
	"ackmark top": {{ExitClean, "ended by q or Ctrl-C, or printed once"}, {ExitFailed, unanswered}, {ExitUsage, wrongUsage}, {ExitKilled, interrupted + ", without a terminal"}},
	"ackmark explain": {
		{ExitClean, "explained"}, {ExitFailed, "no process at this sidecar holds the partition, its record could not be read, or " + unanswered}, {ExitUsage, wrongUsage}, {ExitKilled, interrupted},
	},
	"ackmark set":             {{ExitClean, "printed"}, {ExitUsage, wrongUsage}},
	"ackmark set route":       {{ExitClean, "the sidecar has it"}, {ExitFailed, "the sidecar refused it, or " + unanswered}, {ExitUsage, wrongUsage}, {ExitKilled, interrupted}},
	"ackmark get":             {{ExitClean, "printed"}, {ExitUsage, wrongUsage}},
	"ackmark get routes":      getExits,
	"ackmark get sessions":    getExits,
	"ackmark get partitions":  getExits,
	"ackmark get queues":      getExits,
	"ackmark get wills":       getExits,
	"ackmark get lag":         getExits,
	"ackmark status":          {{ExitClean, "the sidecar answered"}, {ExitFailed, unanswered}, {ExitUsage, wrongUsage}, {ExitKilled, interrupted}},
	"ackmark healthcheck":     {{ExitClean, "it is well"}, {ExitFailed, "it is not well, or " + unanswered}, {ExitUsage, wrongUsage}, {ExitKilled, interrupted}},
	"ackmark config":          {{ExitClean, "printed"}, {ExitUsage, wrongUsage}},
	"ackmark config check":    {{ExitClean, "the sidecar would start with it"}, {ExitUsage, wrongUsage}},
	"ackmark config defaults": {{ExitClean, "printed"}, {ExitUsage, wrongUsage}},
	"ackmark config echo":     {{ExitClean, "printed"}, {ExitUsage, wrongUsage}},
	"ackmark version":         {{ExitClean, "printed"}, {ExitUsage, wrongUsage}},
}

var getExits = []exit{{ExitClean, "the sidecar answered"}, {ExitFailed, unanswered}, {ExitUsage, wrongUsage}, {ExitKilled, interrupted}}

// exitText is the last part of a command's help.
func exitText(cmd *cobra.Command) string {
	var b strings.Builder
	codes := exits[cmd.CommandPath()]
	if len(codes) > 0 {
		b.WriteString("\nExit codes:\n")
	}
	for _, e := range codes {
		fmt.Fprintf(&b, "  %3d  %s\n", e.code, e.means)
	}
	return b.String()
}
