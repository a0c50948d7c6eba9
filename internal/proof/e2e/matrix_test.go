package e2e

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/ackmark/ackmark/internal/proof/kafkatest"
)

const (
	// versionsEnv are the versions of Kafka that TestBrokers measures, separated by commas.
	versionsEnv = "KAFKATEST_VERSIONS"
	oneVersion  = "KAFKATEST_VERSION" // of kafkatest
)

// promised is a promise, and the tests of this package that show it on real brokers.
type promised struct {
	what  string
	tests []string
}

// matrix are the rows of the table in docs/guarantees.md, "Other brokers".
var matrix = []promised{
	{"app SIGKILLed: nothing lost, nothing repeated", []string{"TestAppKilled", "TestTwoAppsKilledAtOnce"}},
	{"sidecar SIGKILLed: nothing lost", []string{"TestSidecarKilled"}},
	{"takeover < 3 s at a session timeout of 45 s", []string{"TestTakeover"}},
	{"static member: no wait, no repeats", []string{"TestStaticMemberKilled", "TestStaticMemberRestartsAtOnce"}},
	{"killed without a sidecar, by a state directory", []string{"TestKilledWithAStateDir"}},
	{"order through scaling and replaced pods", []string{"TestScaling", "TestPodReplaced"}},
	{"what is done above the mark survives in the commit", []string{"TestMetadataLimit", "TestPlainLoop"}},
	{"many partitions in one commit and one will", []string{"TestLargeCommit", "TestLargeWill"}},
	{"a refused record takes nobody with it", []string{"TestRefusedRecordAlone", "TestOneAppsInvalidRecords"}},
	{"an output topic created anew", []string{"TestOutputTopicCreatedAnew"}},
	{"a late commit of a dead process is repaired", []string{"TestLateCommitRepaired"}},
	{"start positions, offsets that expired", []string{"TestLatestOfAKnownTopic", "TestOutOfRangeHalts", "TestOutOfRangeEarliest"}},
	{"dead letters redriven, each once", []string{"TestRedriveKilledInTheMiddle"}},
	{"lag of any group", []string{"TestLagOfRealGroups"}},
	{"groups of the consumer protocol (KIP-848)", []string{"TestTakeoverInTheConsumerProtocol", "TestAStaticMemberIsBackSoonInTheConsumerProtocol"}},
	{"a group changes its protocol and back, under kills", []string{"TestUpgradeUnderKills"}},
}

// shortCut are the rows that CI runs on an older broker.
var shortCut = []string{"TestAppKilled", "TestSidecarKilled", "TestStaticMemberRestartsAtOnce", "TestPlainLoop", "TestOutputTopicCreatedAnew"}

// TestBrokers runs the promises' tests on other versions of Kafka, one process for each version,
// and prints which held where. `make brokers` names them all.
func TestBrokers(t *testing.T) {
	list := os.Getenv(versionsEnv)
	if list == "" {
		t.Skipf("measures for three minutes and more: `make brokers`, or %s=3.9.1,2.8.2", versionsEnv)
	}
	var tests []string
	for _, row := range matrix {
		tests = append(tests, row.tests...)
	}
	if os.Getenv("KAFKATEST_PART") == "short" {
		tests = shortCut
	}
	versions := strings.Split(list, ",")
	verdicts := map[string]map[string]string{}
	for _, v := range versions {
		t.Run(v, func(t *testing.T) { verdicts[v] = runOn(t, v, tests) })
	}
	var table strings.Builder
	fmt.Fprintf(&table, "| promise | Kafka %s |\n|---|%s\n", strings.Join(versions, " | "), strings.Repeat("---|", len(versions)))
	for _, row := range matrix {
		if !slices.ContainsFunc(row.tests, func(test string) bool { return slices.Contains(tests, test) }) {
			continue
		}
		fmt.Fprintf(&table, "| %s |", row.what)
		for _, v := range versions {
			fmt.Fprintf(&table, " %s |", row.verdict(verdicts[v]))
		}
		table.WriteByte('\n')
	}
	t.Log("\n" + table.String())
}

// verdict of a row is that of its worst test.
func (p promised) verdict(of map[string]string) string {
	order := []string{"FAIL", "SKIP", "PASS", ""}
	words := map[string]string{"FAIL": "**broken**", "SKIP": "not there", "PASS": "holds", "": "–"}
	worst := len(order) - 1
	for _, test := range p.tests {
		worst = min(worst, slices.Index(order, of[test]))
	}
	return words[order[worst]]
}

// runOn runs tests of this binary on brokers of a version, and returns what became of each.
func runOn(t *testing.T, version string, tests []string) map[string]string {
	t.Helper()
	// One at a time: none waits for another's faults, and one that hangs is named.
	verdicts := map[string]string{}
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run", "^("+strings.Join(tests, "|")+")$", "-test.v", "-test.timeout", "60m")
	cmd.Env = append(os.Environ(), oneVersion+"="+version, versionsEnv+"=")
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var lines []string
	for sc := bufio.NewScanner(out); sc.Scan(); {
		lines = append(lines, sc.Text())
		for _, verdict := range []string{"PASS", "FAIL", "SKIP"} {
			rest, ok := strings.CutPrefix(sc.Text(), "--- "+verdict+": ")
			if name, took, _ := strings.Cut(rest, " "); ok {
				verdicts[name] = verdict
				t.Logf("%s: %s %s %s", version, verdict, name, took)
			}
		}
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("Kafka %s: %v\n%s", version, err, strings.Join(lines, "\n"))
	}
	for _, test := range tests {
		if verdicts[test] == "" {
			t.Errorf("Kafka %s: %s did not end", version, test)
			verdicts[test] = "FAIL"
		}
	}
	return verdicts
}

// needs848 skips what a broker without groups of the consumer protocol (KIP-848) cannot do.
func needs848(t *testing.T, kafka *kafkatest.Cluster) {
	t.Helper()
	if v := kafka.Version(); !kafkatest.AtLeast(v, 4, 0) {
		t.Skipf("this system has no groups of the consumer protocol: Kafka %s, they are there from 4.0 on", v)
	}
}
