package cli

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/ackmark/ackmark/cmd/ackmark/internal/letters"
	"github.com/ackmark/ackmark/cmd/ackmark/internal/podview"
	"github.com/ackmark/ackmark/internal/podstate"
)

const explainIntro = `Says of an input partition that a process at the sidecar holds why its ack mark stands where it stands: which
offset blocks it, since when, in which lane and attempt, its last error, and what happens next.

The sidecar does not know keys, only the hash of one where its app could tell it. With --show-key the record is read
from the topic, by your own rights, and its key is shown: name the --brokers.`

// NewExplainCommand returns `ackmark explain`.
func NewExplainCommand() *cobra.Command {
	var t target
	var cluster clusterFlags
	var group, output string
	var key bool
	cmd := &cobra.Command{
		Use: "explain TOPIC PARTITION", Short: "Say why the ack mark of a partition does not move", Long: explainIntro, Args: namedArgs(2),
		Example: `  ackmark explain orders 3
  ackmark explain orders 3 --group billing -o json
  ackmark explain orders 3 --show-key --brokers kafka:9092`,
		RunE: func(cmd *cobra.Command, args []string) error {
			n, err := strconv.ParseInt(args[1], 10, 32)
			if err != nil || n < 0 {
				return usageError{fmt.Errorf("the partition is %q; write its number, as in: ackmark explain %s 0", args[1], letters.Printable(args[0]))}
			}
			if err := oneOfWords("--output", output, "table", "json", "yaml"); err != nil {
				return err
			}
			if key {
				if err := cluster.check(); err != nil {
					return err
				}
			}
			pod, err := t.pod(cmd.Context())
			if err != nil {
				return err
			}
			found := partitionsOf(pod, args[0], int32(n), group)
			if len(found) == 0 {
				return notHeld(pod, args[0], int32(n), group)
			}
			if key {
				if err := showKeys(cmd.Context(), &cluster, found); err != nil {
					return err
				}
			}
			switch output {
			case "json":
				return printable(cmd.OutOrStdout(), found)
			case "yaml":
				return printYAML(cmd.OutOrStdout(), found)
			}
			for i, p := range found {
				if i > 0 {
					fmt.Fprintln(cmd.OutOrStdout())
				}
				podview.Explain(cmd.OutOrStdout(), pod, p)
			}
			return nil
		},
	}
	addTargetFlags(cmd, &t)
	cmd.Flags().StringVar(&group, "group", "", "only as this group's (default: of every group that holds it here)")
	cmd.Flags().BoolVar(&key, "show-key", false, "read the blocking record from its topic and show its key; needs --brokers")
	cmd.Flags().StringVarP(&output, "output", "o", "table", "table, json or yaml")
	addClusterFlags(cmd, &cluster)
	cmd.Flags().Lookup("brokers").Usage = "brokers of the cluster, host:port comma separated (for --show-key)"
	return cmd
}

func partitionsOf(pod *podstate.Pod, topic string, partition int32, group string) (found []*podstate.Partition) {
	for i := range pod.Partitions {
		p := &pod.Partitions[i]
		if p.Topic == topic && p.Partition == partition && (group == "" || p.Group == group) {
			found = append(found, p)
		}
	}
	return found
}

// notHeld says what is held instead.
func notHeld(pod *podstate.Pod, topic string, partition int32, group string) error {
	var others []string
	for i := range pod.Partitions {
		if p := &pod.Partitions[i]; p.Topic == topic && (group == "" || p.Group == group) && len(others) < 20 {
			others = append(others, strconv.Itoa(int(p.Partition)))
		}
	}
	what := fmt.Sprintf("no process at this sidecar holds partition %d of %s", partition, letters.Printable(topic))
	if group != "" {
		what += " for group " + letters.Printable(group)
	}
	if len(others) == 0 {
		return fmt.Errorf("%s, nor any other of it; held here: %s; another pod's may", what, topicsOf(pod))
	}
	return fmt.Errorf("%s, but %s; another pod's may", what, strings.Join(others, ", "))
}

// topicsOf names the topics of which something is held, as many as a line has room for.
func topicsOf(pod *podstate.Pod) string {
	var names []string
	for i := range pod.Partitions { // they are in order
		if name := letters.Printable(pod.Partitions[i].Topic); len(names) == 0 || names[len(names)-1] != name {
			names = append(names, name)
		}
	}
	switch {
	case len(names) == 0:
		return "nothing"
	case len(names) > 10:
		return fmt.Sprintf("%s and %d more", strings.Join(names[:10], ", "), len(names)-10)
	}
	return strings.Join(names, ", ")
}

// showKeys reads the records that block their partitions.
func showKeys(ctx context.Context, cluster *clusterFlags, found []*podstate.Partition) error {
	for _, p := range found {
		if p.Oldest == nil {
			continue
		}
		key, err := readKey(ctx, cluster, p.Topic, p.Partition, p.Oldest.Offset)
		if err != nil {
			return orCut(ctx, fmt.Errorf("offset %d cannot be read for its key: %w", p.Oldest.Offset, err))
		}
		p.Oldest.Key = key
	}
	return nil
}

// errGone: the log does not have the record any more.
var errGone = errors.New("the log does not have it any more (retention or compaction)")

func readKey(ctx context.Context, cluster *clusterFlags, topic string, partition int32, offset int64) (string, error) {
	opts, err := cluster.options("ackmark-explain")
	if err != nil {
		return "", usageError{err}
	}
	at := map[string]map[int32]kgo.Offset{topic: {partition: kgo.NewOffset().At(offset)}}
	client, err := kgo.NewClient(append(opts, kgo.ConsumePartitions(at), kgo.ConsumeResetOffset(kgo.NoResetOffset()))...)
	if err != nil {
		return "", err
	}
	defer client.Close()
	fetches := client.PollRecords(ctx, 1)
	if err := fetches.Err(); err != nil {
		return "", err
	}
	records := fetches.Records()
	switch {
	case len(records) == 0 || records[0].Offset != offset:
		return "", errGone
	case records[0].Key == nil:
		return "(none)", nil
	}
	return string(records[0].Key), nil
}
