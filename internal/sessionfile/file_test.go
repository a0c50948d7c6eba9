//go:build (linux || darwin) && !portable

package sessionfile

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ackmark/ackmark/internal/donemeta"
	"github.com/ackmark/ackmark/internal/groupcommit"
)

func open(t *testing.T, path string) *Dir {
	t.Helper()
	d, err := Open(path, DefaultLimit)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

var (
	someone = Session{App: "orders", ID: "s-1", Client: "c-1", Process: Process{PID: 77, Start: 12345, Inode: 99}, UID: 1000}
	member1 = Membership{Group: "g", Consumer: 4, ID: "m-1", Generation: 7, Protocol: groupcommit.Consumer, Cluster: "cl"}
)

func begin(t *testing.T, d *Dir) (*File, *Entry) {
	t.Helper()
	f, err := d.Create(someone)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.SetMembership(member1); err != nil {
		t.Fatal(err)
	}
	e, err := f.Enter(&Assignment{Group: "g", Consumer: 4, Member: "m-1", Epoch: 3, Topic: "in", TopicID: [16]byte{1}, Partition: 2, Start: 50})
	if err != nil {
		t.Fatal(err)
	}
	return f, e
}

func orphans(t *testing.T, d *Dir) (all []*Orphan, refused []string) {
	t.Helper()
	all, err := d.Orphans(func(path string, why error) { refused = append(refused, filepath.Base(path)+": "+why.Error()) })
	if err != nil {
		t.Fatal(err)
	}
	return all, refused
}

func files(t *testing.T, path string) int {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(path, "*"+suffix))
	if err != nil {
		t.Fatal(err)
	}
	return len(names)
}

func TestWhatIsWrittenIsFound(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state")
	d := open(t, path)
	f, e := begin(t, d)
	e.Advance(60)
	e.Done(70, 75)
	gone, err := f.Enter(&Assignment{Group: "g", Consumer: 4, Member: "m-1", Epoch: 4, Topic: "in", Partition: 5})
	if err != nil {
		t.Fatal(err)
	}
	gone.Release()
	gone.Advance(1000)
	if _, err := f.Enter(&Assignment{Group: "g", Consumer: 4, Member: "another member", Epoch: 5, Topic: "in", Partition: 6}); err != nil {
		t.Fatal(err)
	}
	if all, _ := orphans(t, d); len(all) != 0 {
		t.Fatal("the file of a living writer is an orphan")
	}
	f.Close(false)
	all, refused := orphans(t, d)
	if len(all) != 1 || len(refused) != 0 {
		t.Fatalf("%d orphans, refused %v", len(all), refused)
	}
	o := all[0]
	if o.Session != someone || len(o.Memberships) != 1 || o.Memberships[0] != member1 || o.OtherPIDs || o.Damaged != 0 {
		t.Errorf("%+v", o)
	}
	if len(o.Assignments) != 1 {
		t.Fatalf("%d assignments: %+v", len(o.Assignments), o.Assignments)
	}
	a := o.Assignments[0]
	if a.Mark != 60 || len(a.Done) != 1 || a.Done[0] != (donemeta.Run{First: 70, Last: 75}) || a.TopicID != [16]byte{1} || a.Partition != 2 || a.Epoch != 3 {
		t.Errorf("%+v", a)
	}
	if again, _ := orphans(t, d); len(again) != 0 {
		t.Error("two have one orphan")
	}
	o.Keep()
	if again, _ := orphans(t, d); len(again) != 1 {
		t.Error("who kept it has it still")
	} else {
		again[0].Forget()
	}
	if files(t, path) != 0 {
		t.Error("it is not removed")
	}
	if d.Used() != 0 {
		t.Errorf("%d bytes of the limit are not given back", d.Used())
	}
}

// What stays after memberships changed is what the last of them says.
func TestMembershipsComeAndGo(t *testing.T) {
	d := open(t, t.TempDir())
	f, _ := begin(t, d)
	for i := range 10 * maxMembers {
		m := Membership{Group: "g", Consumer: uint64(100 + i), ID: fmt.Sprint("m", i), Generation: int32(i)}
		if err := f.SetMembership(m); err != nil {
			t.Fatal(err)
		}
		if m.ID = ""; i < 10*maxMembers-1 {
			if err := f.SetMembership(m); err != nil {
				t.Fatal(err)
			}
		}
	}
	f.Close(false)
	all, _ := orphans(t, d)
	if len(all) != 1 || len(all[0].Memberships) != 2 || len(all[0].Assignments) != 1 {
		t.Fatalf("%+v", all)
	}
}

func TestTheLimitIsKept(t *testing.T) {
	d, err := Open(t.TempDir(), 2*fileCost+3*cellCost)
	if err != nil {
		t.Fatal(err)
	}
	f, e := begin(t, d)
	enter := func() (*Entry, error) {
		return f.Enter(&Assignment{Group: "g", Consumer: 4, Member: "m-1", Topic: "in"})
	}
	for range 2 {
		if _, err := enter(); err != nil {
			t.Fatal(err)
		}
	}
	other, err := d.Create(someone)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := other.Enter(&Assignment{Topic: "in"}); !errors.Is(err, ErrFull) {
		t.Errorf("a fourth assignment: %v", err)
	}
	if _, err := d.Create(someone); !errors.Is(err, ErrFull) {
		t.Errorf("a third file: %v", err)
	}
	e.Release()
	if _, err := enter(); err != nil {
		t.Errorf("the room of one that was released: %v", err)
	}
	f.Close(true)
	other.Close(true)
	if d.Used() != 0 {
		t.Errorf("%d bytes are not given back", d.Used())
	}
}

// What is no last will is removed, with one line; what belongs to others is left alone.
func TestWhatIsNoWill(t *testing.T) {
	path := t.TempDir()
	d := open(t, path)
	write := func(name string, mode os.FileMode, b []byte) string {
		p := filepath.Join(path, name+suffix)
		if err := os.WriteFile(p, b, mode); err != nil {
			t.Fatal(err)
		}
		return p
	}
	whole := func(boot string) []byte {
		b, err := (&header{Boot: boot, PIDs: d.pids, Session: someone}).encode()
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	damaged := whole(d.boot)
	damaged[30] ^= 1
	for name, c := range map[string]struct {
		write func()
		why   string
		stays bool
	}{
		"empty":     {func() { write("x", 0o600, nil) }, "cut off", false},
		"truncated": {func() { write("x", 0o600, whole(d.boot)[:200]) }, "cut off", false},
		"damaged":   {func() { write("x", 0o600, damaged) }, "damaged", false},
		"version":   {func() { write("x", 0o600, bytes.Replace(whole(d.boot), []byte("1"), []byte("2"), 1)) }, "another version", false},
		"reboot":    {func() { write("x", 0o600, whole("another boot")) }, "before a reboot", false},
		"mode":      {func() { write("x", 0o644, whole(d.boot)) }, "left alone", true},
		"link":      {func() { _ = os.Symlink(write("target-", 0o600, whole(d.boot)), filepath.Join(path, "x"+suffix)) }, "too many", true},
		"directory": {func() { _ = os.Mkdir(filepath.Join(path, "x"+suffix), 0o700) }, "", true},
	} {
		t.Run(name, func(t *testing.T) {
			c.write()
			all, refused := orphans(t, d)
			said := strings.Join(refused, "\n")
			for _, o := range all {
				if strings.HasPrefix(filepath.Base(o.Path), "x") {
					t.Error("it is taken for a will")
				}
				o.Forget()
			}
			if !strings.Contains(said, "x"+suffix) || !strings.Contains(said, c.why) {
				t.Errorf("told: %q", said)
			}
			_, err := os.Lstat(filepath.Join(path, "x"+suffix))
			if stays := err == nil; stays != c.stays {
				t.Errorf("it stays: %t", stays)
			}
			_ = os.RemoveAll(filepath.Join(path, "x"+suffix))
		})
	}
}

// Whoever may write there may speak for the dead.
func TestWhoseDirectory(t *testing.T) {
	for name, put := range map[string]func(path string) error{
		"open": func(p string) error { return errors.Join(os.Mkdir(p, 0o700), os.Chmod(p, 0o777)) },
		"link": func(p string) error { return os.Symlink(t.TempDir(), p) },
		"file": func(p string) error { return os.WriteFile(p, nil, 0o600) },
	} {
		p := filepath.Join(t.TempDir(), "state")
		if err := put(p); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(p, DefaultLimit); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
}

// Every flipped bit and every length: nothing is believed that was not written.
func FuzzRead(f *testing.F) {
	path := f.TempDir()
	d, err := Open(path, DefaultLimit)
	if err != nil {
		f.Fatal(err)
	}
	file, err := d.Create(someone)
	if err != nil {
		f.Fatal(err)
	}
	_ = file.SetMembership(member1)
	e, err := file.Enter(&Assignment{Group: "g", Consumer: 4, Member: "m-1", Topic: "in", Start: 50})
	if err != nil {
		f.Fatal(err)
	}
	e.Advance(55)
	name := file.file.(*onDisk).path
	file.Close(false)
	b, err := os.ReadFile(name)
	if err != nil {
		f.Fatal(err)
	}
	for _, at := range []int{0, 9, 30, membersAt + 17, cellsAt + 3, cellsAt + 8, cellsAt + 30, len(b)} {
		f.Add(at, byte(1), len(b))
		f.Add(at, byte(255), at)
	}
	f.Fuzz(func(t *testing.T, at int, flip byte, cut int) {
		b := bytes.Clone(b)
		if at >= 0 && at < len(b) {
			b[at] ^= flip
		}
		if cut >= 0 && cut < len(b) {
			b = b[:cut]
		}
		c, err := read(bytes.NewReader(b))
		if err != nil {
			return
		}
		if c.Session != someone {
			t.Fatalf("another session: %+v", c.Session)
		}
		for _, m := range c.members {
			if m != member1 {
				t.Fatalf("another membership: %+v", m)
			}
		}
		for _, a := range c.assignments {
			if a.Topic != "in" || a.Start != 50 || a.Mark < 50 {
				t.Fatalf("another assignment: %+v", a)
			}
		}
	})
}

const childVariable = "ACKMARK_SESSIONFILE_CHILD"

// A real SIGKILL, in the middle of writing.
func TestASIGKILL(t *testing.T) {
	if path := os.Getenv(childVariable); path != "" {
		writeForEver(path)
	}
	for range 20 {
		path := t.TempDir()
		cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run", "^TestASIGKILL$")
		cmd.Env = append(os.Environ(), childVariable+"="+path)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(out, make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		all, refused := orphans(t, open(t, path))
		if len(all) != 1 || len(refused) != 0 || len(all[0].Memberships) != 1 {
			t.Fatalf("%d orphans, %v", len(all), refused)
		}
		if m := all[0].Memberships[0]; m.Group != "g" || m.Cluster != fmt.Sprint(m.Generation) {
			t.Fatalf("a mixture: %+v", m)
		}
		for _, a := range all[0].Assignments {
			if a.Mark < 1 || a.Topic != fmt.Sprint("t", a.Epoch) {
				t.Fatalf("a mixture: %+v", a)
			}
			for _, r := range a.Done {
				if r.First%3 != 0 || r.First != r.Last {
					t.Fatalf("%v is called done, mark %d", r, a.Mark)
				}
			}
		}
		all[0].Forget()
	}
}

// writeForEver notes only offsets that divide by 3 as done above the mark.
func writeForEver(path string) {
	d, err := Open(path, DefaultLimit)
	if err != nil {
		panic(err)
	}
	f, err := d.Create(someone)
	if err != nil {
		panic(err)
	}
	for n := uint64(1); ; n++ {
		_ = f.SetMembership(Membership{Group: "g", Consumer: 4, ID: "m", Generation: int32(n), Cluster: fmt.Sprint(n)})
		e, err := f.Enter(&Assignment{Group: "g", Consumer: 4, Member: "m", Epoch: n, Topic: fmt.Sprint("t", n), Start: 1})
		if err != nil {
			panic(err)
		}
		for mark := int64(1); mark < 40_000; mark += int64(n%700) + 1 {
			for o := mark + 3 - mark%3; o < mark+600; o += 3 {
				e.Done(o, o)
			}
			e.Advance(mark)
			if n == 1 && mark == 1 {
				fmt.Print("x")
			}
		}
		e.Release()
	}
}
