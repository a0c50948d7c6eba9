package assignment_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/ackmark/ackmark/internal/assignment"
	"github.com/ackmark/ackmark/internal/donemeta"
)

var update = os.Getenv("ACKMARK_UPDATE") != ""

// A scenario is a text: commands, then ---- and what they say. ACKMARK_UPDATE=1 writes the answers.
//
//	new start=3 committed=3    begin
//	inherit 5-6 9-9            done before it
//	read 3 4 7                 offsets that are read and handed out, or passed if done before
//	epoch 4 7                  records from offset 4 on are of leader epoch 7
//	control 8                  a control record
//	done 0 2                   indices that are done
//	follow 2@7                 an index and its offset, heard of out of order
//	due                        what to commit now
//	commit                     commit what is due
//	drain, halt, recreate, fence
//	standing, progress, fits 9
func TestScenarios(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) < 4 {
		t.Fatalf("%d scenarios, %v", len(files), err)
	}
	for _, name := range files {
		t.Run(strings.TrimSuffix(filepath.Base(name), ".txt"), func(t *testing.T) {
			text, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			var got strings.Builder
			p := player{}
			for _, block := range strings.Split(strings.TrimSpace(string(text)), "\n\n") {
				commands, _, _ := strings.Cut(block, "\n----")
				if strings.HasPrefix(commands, "#") && !strings.Contains(commands, "\n") {
					got.WriteString(commands + "\n\n")
					continue
				}
				got.WriteString(commands + "\n----\n")
				for line := range strings.Lines(commands) {
					if line = strings.TrimSpace(line); !strings.HasPrefix(line, "#") {
						got.WriteString(p.play(line))
					}
				}
				got.WriteString("\n")
			}
			want := strings.TrimSpace(string(text))
			if have := strings.TrimSpace(got.String()); have != want {
				if update {
					if err := os.WriteFile(name, []byte(have+"\n"), 0o600); err != nil {
						t.Fatal(err)
					}
					return
				}
				t.Errorf("the scenario answers otherwise:\n%s", have)
			}
		})
	}
}

type player struct{ a *assignment.Assignment }

var topicID = [16]byte{7}

func number(s string) int64 {
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		panic(err)
	}
	return n
}

func (p *player) play(line string) string {
	words := strings.Fields(line)
	events := map[string]assignment.Event{"drain": assignment.Drain, "halt": assignment.Halt, "recreate": assignment.Recreate, "fence": assignment.Fence}
	if e, ok := events[words[0]]; ok {
		p.a.Happen(e)
		return fmt.Sprintf("%s\n", p.a.State())
	}
	args := words[1:]
	switch words[0] {
	case "new":
		s := assignment.Spec{TopicID: topicID, Committed: -1, Limit: 1 << 20}
		for _, arg := range args {
			key, value, _ := strings.Cut(arg, "=")
			switch key {
			case "start":
				s.Start = number(value)
			case "committed":
				s.Committed = number(value)
			case "base":
				s.Base = uint64(number(value))
			case "limit":
				s.Limit = int(number(value))
			case "named":
				s.TopicID = [16]byte{}
			}
		}
		p.a = assignment.New(s)
		return ""
	case "inherit":
		var runs []donemeta.Run
		for _, arg := range args {
			first, last, _ := strings.Cut(arg, "-")
			runs = append(runs, donemeta.Run{First: number(first), Last: number(last)})
		}
		p.a.Inherit(runs, "set of before", 5)
		return ""
	case "read":
		var out []string
		for _, arg := range args {
			offset := number(arg)
			if p.a.WasDone(offset) {
				p.a.Pass(offset, true)
				out = append(out, arg+" was done")
				continue
			}
			index, ok := p.a.Read(offset, 10)
			if !ok {
				out = append(out, arg+" has no room")
				continue
			}
			out = append(out, fmt.Sprintf("%s is %d", arg, index))
		}
		return strings.Join(out, ", ") + "\n"
	case "epoch":
		p.a.EnterEpoch(number(args[0]), int32(number(args[1])))
		return ""
	case "control":
		p.a.Pass(number(args[0]), false)
		return ""
	case "done":
		n := 0
		for _, arg := range args {
			if first, last, many := strings.Cut(arg, "-"); many {
				n += p.a.DoneRange(uint64(number(first)), int(number(last)-number(first)+1))
			} else if p.a.Done(uint64(number(arg))) {
				n++
			}
		}
		return fmt.Sprintf("%d done, mark %d\n", n, p.a.Mark())
	case "follow":
		var out []string
		for _, arg := range args {
			index, offset, _ := strings.Cut(arg, "@")
			out = append(out, fmt.Sprintf("%s %v", arg, p.a.Follow(uint64(number(index)), number(offset), 10)))
		}
		return strings.Join(out, ", ") + "\n"
	case "due", "commit":
		c, due := p.a.Due(true)
		if !due {
			return "nothing is due\n"
		}
		if words[0] == "commit" {
			p.a.Committed(c)
		}
		return fmt.Sprintf("%d, leader epoch %d, done above: %s\n", c.Offset, c.LeaderEpoch, setOf(c))
	case "standing":
		mark, done := p.a.Standing()
		return fmt.Sprintf("%d, done above: %v\n", mark, done)
	case "progress":
		at := p.a.Progress(false)
		return fmt.Sprintf("index %d offset %d done %v\n", at.Index, at.Offset, at.Done)
	case "fits":
		return fmt.Sprintf("%v, describable below %d\n", p.a.Fits(number(args[0]), 0), p.a.Describable())
	}
	panic("no command " + words[0])
}

func setOf(c assignment.Commit) string {
	if c.Set == "" {
		return "nothing"
	}
	runs, err := donemeta.Parse(c.Set, donemeta.Binding{TopicID: topicID, Base: c.Offset, LeaderEpoch: c.LeaderEpoch}, nil)
	if err != nil {
		return err.Error()
	}
	return fmt.Sprint(runs)
}
