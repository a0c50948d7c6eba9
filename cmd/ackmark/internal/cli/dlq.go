package cli

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"os"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/ackmark/ackmark/cmd/ackmark/internal/dlq"
	"github.com/ackmark/ackmark/cmd/ackmark/internal/letters"
	"github.com/ackmark/ackmark/cmd/ackmark/internal/settings"
)

const dlqIntro = `Dead letters are inputs that were rejected, as they came, with headers that say why (docs/operations.md).

  ls       how many wait, by source topic and error
  show     single letters: headers, key and value
  redrive  write the chosen ones to the topic they came from, or to another
  discard  write them nowhere: they wait no more

A letter waits until it is redriven or discarded. Both move a position and delete nothing: what a group
(ackmark-dlq-TOPIC) has committed for the topic. Its offset says: all below is done. The commit's metadata says what
above it is done too, so that any may be chosen, and all others stay. Kafka forgets the commits of a group after
offsets.retention.minutes (7 days by default) without a new one; then all letters that are still in the topic wait again.`

// NewDLQCommand returns `ackmark dlq`.
func NewDLQCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "dlq", Short: "Look at dead letters, give them back, or discard them", Long: dlqIntro, Args: noArgs,
		Example: `  ackmark dlq ls --brokers kafka:9092 --topic orders.dead
  ackmark dlq show --brokers kafka:9092 --topic orders.dead --error "bad amount" --limit 3
  ackmark dlq redrive --brokers kafka:9092 --topic orders.dead --error "bad amount"          # what it would do
  ackmark dlq redrive --brokers kafka:9092 --topic orders.dead --error "bad amount" --yes`,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newDLQList(), newDLQShow(), newDLQRedrive(), newDLQDiscard())
	return cmd
}

// letterFlags choose letters of a topic.
type letterFlags struct {
	cluster           clusterFlags
	topic, group      string
	rule              letters.Rule
	key, since, until string
	offsets           []string
	below, output, as string
	limit, bytes      int
	all               bool
}

func addLetterFlags(cmd *cobra.Command, f *letterFlags) {
	addClusterFlags(cmd, &f.cluster)
	set := cmd.Flags()
	set.StringVar(&f.topic, "topic", "", "dead-letter topic (required)")
	set.StringVar(&f.group, "group", "", "group whose commits are the position (default ackmark-dlq-TOPIC)")
	set.StringSliceVar(&f.rule.Sources, "source", nil, "only letters that came from this topic; repeatable")
	set.StringVar(&f.rule.Error, "error", "", "only letters with this text in their error, or with this error code")
	set.StringVar(&f.key, "key", "", "only letters with this key; hex:00ff for keys that are no text")
	set.StringVar(&f.since, "since", "", "only letters rejected from this time on: 2026-01-31T10:00:00Z, or 2h (ago)")
	set.StringVar(&f.until, "until", "", "only letters rejected before this time")
	set.StringSliceVar(&f.offsets, "offset", nil, "only this letter, partition:offset as ls and show have it; repeatable")
}

// open parses the flags and looks at the topic.
func (f *letterFlags) open(ctx context.Context, cmd *cobra.Command) (*dlq.Topic, *kgo.Client, error) {
	if err := refuseEmpty(cmd, "topic", "group", "source", "error", "since", "until", "offset"); err != nil {
		return nil, nil, err
	}
	if err := f.parse(cmd); err != nil {
		return nil, nil, err
	}
	client, err := f.cluster.client("ackmark-dlq")
	if err != nil {
		return nil, nil, err
	}
	t, err := dlq.Open(ctx, client, f.topic, f.group)
	if err != nil {
		client.Close()
		return nil, nil, noSuchTopic("--topic", err)
	}
	for partition := range f.rule.Offsets { // else nothing would be chosen, and that be called a success
		if err := hasPartition("--offset", t, int64(partition)); err != nil {
			client.Close()
			return nil, nil, err
		}
	}
	return t, client, nil
}

// noSuchTopic names the topic that was meant.
func noSuchTopic(flag string, err error) error {
	missing, ok := errors.AsType[*dlq.MissingTopicError](err)
	if !ok {
		return err
	}
	hint := "check its name and the permission to describe it"
	if near := settings.Nearest(missing.Topic, missing.Known); near != "" {
		hint = "did you mean " + near + "?"
	}
	return usageError{fmt.Errorf("%s is %q: there is no such topic; %s", flag, missing.Topic, hint)}
}

func (f *letterFlags) parse(cmd *cobra.Command) (err error) {
	if err := f.cluster.check(); err != nil {
		return err
	}
	if f.topic == "" {
		return usageError{errors.New("--topic is missing; name the dead-letter topic")}
	}
	f.rule.Topic = f.topic
	if f.group == "" {
		f.group = dlq.GroupOf(f.topic)
	}
	if cmd.Flags().Changed("key") {
		if f.rule.Key, err = keyOf(f.key); err != nil {
			return err
		}
	}
	if f.rule.Since, err = pointInTime("--since", f.since); err != nil {
		return err
	}
	if f.rule.Until, err = pointInTime("--until", f.until); err != nil {
		return err
	}
	if since, until := f.rule.Since, f.rule.Until; !since.IsZero() && !until.IsZero() && !since.Before(until) {
		return usageError{fmt.Errorf("--since %s is not before --until %s: no letter is between them; exchange them", f.since, f.until)}
	}
	pairs, err := pairs("--offset", f.offsets)
	f.rule.Offsets = letters.Offsets(pairs)
	return err
}

// keyOf reads a key: a text, or hex: and its bytes.
func keyOf(text string) ([]byte, error) {
	digits, isHex := strings.CutPrefix(text, "hex:")
	if !isHex {
		return []byte(text), nil
	}
	key, err := hex.DecodeString(digits)
	if err != nil {
		return nil, usageError{fmt.Errorf("--key is %q; behind hex: write pairs of hexadecimal digits, as in hex:00ff", text)}
	}
	return key, nil
}

// pairs reads a list of partition:offset.
func pairs(flag string, list []string) ([][2]int64, error) {
	all := make([][2]int64, 0, len(list))
	for _, text := range list {
		left, right, _ := strings.Cut(text, ":")
		partition, err := strconv.ParseInt(left, 10, 32)
		offset, err2 := strconv.ParseInt(right, 10, 64)
		if err != nil || err2 != nil || partition < 0 || offset < 0 {
			return nil, usageError{fmt.Errorf("%s has %q; write partition:offset, as in 3:1204", flag, text)}
		}
		all = append(all, [2]int64{partition, offset})
	}
	return all, nil
}

func newDLQList() *cobra.Command {
	var f letterFlags
	cmd := &cobra.Command{
		Use: "ls", Short: "Count letters by source topic and error", Args: noArgs,
		Long: `Reads the letters that wait and counts them. It only reads.

` + listWords(),
		Example: `  ackmark dlq ls --brokers kafka:9092 --topic orders.dead
  ackmark dlq ls --brokers kafka:9092 --topic orders.dead --since 1h
  ackmark dlq ls --brokers kafka:9092 --topic orders.dead -o json | jq .letters`,
		RunE: func(cmd *cobra.Command, _ []string) error { return orCut(cmd.Context(), f.list(cmd)) },
	}
	addLetterFlags(cmd, &f)
	cmd.Flags().BoolVar(&f.all, "all", false, "count those that were redriven or discarded too, as long as they are in the topic")
	cmd.Flags().StringVarP(&f.output, "output", "o", "table", "table or json")
	return cmd
}

func (f *letterFlags) list(cmd *cobra.Command) error {
	if err := oneOfWords("--output", f.output, "table", "json"); err != nil {
		return err
	}
	ctx := cmd.Context()
	t, client, err := f.open(ctx, cmd)
	if err != nil {
		return err
	}
	defer client.Close()
	r := listReport{Topic: f.topic, Group: f.group, New: t.New}
	var tally letters.Tally
	err = t.Each(ctx, f.all, nil, func(l *letters.Letter, done bool) {
		if done {
			r.Done++
		} else {
			r.Waiting++
		}
		if (!done || f.all) && f.rule.Chooses(l) {
			tally.Add(l)
		}
	})
	if err != nil {
		return err
	}
	r.Letters, r.Unnamed, r.Causes = tally.Letters, tally.Unnamed, tally.Counts()
	if f.output == "json" {
		return printable(cmd.OutOrStdout(), r)
	}
	return printList(cmd.OutOrStdout(), &r)
}

func newDLQShow() *cobra.Command {
	var f letterFlags
	cmd := &cobra.Command{
		Use: "show", Short: "Show letters: headers, key and value", Args: noArgs,
		Long: `Shows letters that wait, partition by partition, the oldest of each first. It only reads.

Keys, values and headers may hold anything; what is not printable is escaped, \x1b, \u202e, and never reaches the
terminal as it is. --as says how values are shown:

  auto   JSON over several lines where it is JSON, text where it is text, else bytes in hexadecimal
  json   the same; what is no JSON is shown as auto does
  text   text, with escapes
  hex    bytes in hexadecimal and as characters`,
		Example: `  ackmark dlq show --brokers kafka:9092 --topic orders.dead --limit 1
  ackmark dlq show --brokers kafka:9092 --topic orders.dead --offset 0:17 --bytes 100000
  ackmark dlq show --brokers kafka:9092 --topic orders.dead --key 4711 -o json | jq -r .value.text`,
		RunE: func(cmd *cobra.Command, _ []string) error { return orCut(cmd.Context(), f.show(cmd)) },
	}
	addLetterFlags(cmd, &f)
	set := cmd.Flags()
	set.BoolVar(&f.all, "all", false, "show those that were redriven or discarded too, as long as they are in the topic")
	set.IntVar(&f.limit, "limit", 10, "letters at most")
	set.IntVar(&f.bytes, "bytes", 2048, "bytes of each value, key and header at most")
	set.StringVar(&f.as, "as", "auto", "how values are shown: auto, text, json or hex")
	set.StringVarP(&f.output, "output", "o", "text", "text, or json: an object a line")
	return cmd
}

// errEnough ends reading.
var errEnough = errors.New("enough")

func (f *letterFlags) show(cmd *cobra.Command) error {
	if err := errors.Join(oneOfWords("--output", f.output, "text", "json"), oneOfWords("--as", f.as, "auto", "text", "json", "hex"),
		atLeastOne("--limit", f.limit), atLeastOne("--bytes", f.bytes)); err != nil {
		return err
	}
	ctx := cmd.Context()
	t, client, err := f.open(ctx, cmd)
	if err != nil {
		return err
	}
	defer client.Close()
	shown, more := 0, false
	for i := range t.Partitions {
		err := t.Partition(ctx, i, f.all, func(l *letters.Letter, done bool) error {
			if done && !f.all || !f.rule.Chooses(l) {
				return nil
			}
			if shown == f.limit {
				more = true
				return errEnough
			}
			shown++
			if f.output == "json" {
				return printLine(cmd.OutOrStdout(), letterJSON(l, done, f.bytes))
			}
			return printLetter(cmd.OutOrStdout(), f.topic, l, done, letters.Format(f.as), f.bytes)
		})
		if err != nil && !errors.Is(err, errEnough) {
			return err
		}
		if more {
			break
		}
	}
	if f.output == "text" {
		return printShown(cmd.OutOrStdout(), shown, more)
	}
	return nil
}

func oneOfWords(flag, value string, allowed ...string) error {
	for _, a := range allowed {
		if value == a {
			return nil
		}
	}
	return usageError{fmt.Errorf("%s is %q; write %s or %s", flag, value, strings.Join(allowed[:len(allowed)-1], ", "), allowed[len(allowed)-1])}
}

func atLeastOne(flag string, n int) error {
	if n > 0 && n < math.MaxInt32 {
		return nil
	}
	return usageError{fmt.Errorf("%s is %d; it must be positive", flag, n)}
}

// atTerminal tells whether somebody can be asked.
func atTerminal(cmd *cobra.Command) bool {
	in, ok := cmd.InOrStdin().(*os.File)
	return ok && terminal(in) && in.Name() != os.DevNull && terminal(cmd.OutOrStdout())
}
