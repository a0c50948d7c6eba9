package credits

import (
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// client is one that obeys its credit, behind a stream that is slow in both directions.
type client struct {
	m           *Member[*client]
	fixed       bool
	down        []message // Credits that it has not read
	up          []message // what it sent and nobody has read, in order
	credit      Cost
	sent        Cost // and not reported to it
	outstanding Cost // of it received and not reported
}

type message struct {
	credit Cost
	number uint64
	units  Cost
}

type model struct {
	*rapid.T
	pool    *Pool[*client]
	clients []*client
	whole   Cost
}

func (x *model) balance() {
	for _, m := range x.pool.Balance() {
		if m.fixed && !lessOrEqual(m.Owner.credit, x.pool.Told(m)) {
			x.Fatal("a client of an older version got a smaller credit")
		}
		m.Owner.down = append(m.Owner.down, message{credit: x.pool.Told(m), number: m.Asked()})
	}
	x.check()
}

// check: what clients may have outstanding is within the whole, and what they have is within that.
func (x *model) check() {
	var sum Cost
	for _, c := range x.clients {
		bound := x.pool.Bound(c.m)
		sum = plus(sum, bound)
		if !lessOrEqual(x.pool.floor, bound) {
			x.Fatalf("a bound of %+v is below the floor", bound)
		}
		if !lessOrEqual(c.outstanding, bound) || !lessOrEqual(c.sent, bound) {
			x.Fatalf("an honest client has %+v outstanding and %+v sent, the bound is %+v", c.outstanding, c.sent, bound)
		}
	}
	n := int64(len(x.clients))
	if most := plus(x.whole, Cost{Bytes: x.pool.floor.Bytes * n, Records: x.pool.floor.Records * n}); !lessOrEqual(sum, most) {
		x.Fatalf("%+v may be outstanding, of %+v", sum, most)
	}
}

func (x *model) join(fixed bool) {
	c := &client{fixed: fixed}
	c.m = x.pool.Join(c, fixed)
	c.credit = x.pool.Told(c.m)
	x.clients = append(x.clients, c)
	x.balance()
}

// read is the client that reads a Credit.
func (x *model) read(c *client) {
	if len(c.down) == 0 {
		return
	}
	c.credit = c.down[0].credit
	if n := c.down[0].number; n != 0 {
		c.up = append(c.up, message{number: n})
	}
	c.down = c.down[1:]
}

func (x *model) send(c *client, want Cost) {
	units := largest(Cost{}, smallest(want, minus(c.credit, c.sent)))
	c.sent = plus(c.sent, units)
	c.up = append(c.up, message{units: units})
}

func (x *model) receive(c *client) {
	if len(c.up) == 0 {
		return
	}
	m := c.up[0]
	c.up = c.up[1:]
	c.outstanding = plus(c.outstanding, m.units)
	if m.number != 0 {
		x.pool.Answered(c.m, m.number, c.outstanding)
	}
	x.balance()
}

func (x *model) report(c *client, part int64) {
	back := Cost{Bytes: c.outstanding.Bytes / part, Records: c.outstanding.Records / part}
	c.outstanding, c.sent = minus(c.outstanding, back), minus(c.sent, back)
	x.pool.Reported(c.m, c.outstanding)
	x.balance()
}

// settle has everybody read and report all.
func (x *model) settle() {
	for again := true; again; {
		again = false
		for _, c := range x.clients {
			for len(c.down)+len(c.up) > 0 {
				x.read(c)
				x.receive(c)
				again = true
			}
			x.report(c, 1)
			again = again || len(c.down) > 0
		}
	}
}

// A naive model: clients that obey, over streams that hold everything up, come and go, work and
// rest. Whatever happens, the sum holds; when it has settled, all who work have the same, and
// hardly anything is left over.
func property(t *rapid.T) {
	most := Cost{Bytes: rapid.Int64Range(64, 1000).Draw(t, "most"), Records: rapid.Int64Range(64, 1000).Draw(t, "records")}
	k := rapid.Int64Range(1, 8).Draw(t, "times")
	whole := Cost{Bytes: most.Bytes * k, Records: most.Records * k}
	x := &model{T: t, whole: whole, pool: New[*client](Cost{Bytes: 10, Records: 5}, whole, most)}
	for range rapid.IntRange(1, 300).Draw(t, "steps") {
		if len(x.clients) == 0 || len(x.clients) < 40 && rapid.IntRange(0, 4).Draw(t, "joins") == 0 {
			x.join(rapid.IntRange(0, 9).Draw(t, "fixed") == 0)
			continue
		}
		c := x.clients[rapid.IntRange(0, len(x.clients)-1).Draw(t, "who")]
		switch rapid.IntRange(0, 6).Draw(t, "what") {
		case 0:
			x.read(c)
		case 1:
			x.receive(c)
		case 2, 3:
			n := rapid.Int64Range(1, 1000).Draw(t, "n")
			x.send(c, Cost{Bytes: n, Records: n})
		case 4:
			x.report(c, rapid.Int64Range(1, 3).Draw(t, "part"))
		case 5:
			x.pool.Rests(c.m, rapid.Bool().Draw(t, "rests"))
			x.balance()
		case 6:
			if rapid.IntRange(0, 3).Draw(t, "leaves") == 0 {
				x.pool.Leave(c.m)
				x.clients = slices.DeleteFunc(x.clients, func(o *client) bool { return o == c })
				x.balance()
			}
		}
		x.check()
	}
	x.settle()
	x.settled()
	for _, c := range x.clients {
		x.pool.Leave(c.m)
	}
	if x.pool.Lent() != (Cost{}) {
		t.Fatalf("nobody is left, and %+v is lent", x.pool.Lent())
	}
}

func (x *model) settled() {
	left, work, all := x.whole, int64(0), int64(0)
	var shares []Cost
	for _, c := range x.clients {
		switch {
		case c.fixed:
			left = minus(left, c.m.told)
			continue
		case !c.m.rests:
			work++
			shares = append(shares, c.m.told)
		}
		all++
		if c.credit != x.pool.Told(c.m) || c.m.told != c.m.lent {
			x.Fatalf("a client has a credit of %+v, was told %+v, may have %+v", c.credit, c.m.told, c.m.lent)
		}
	}
	for _, share := range shares {
		fair := smallest(x.pool.most, Cost{Bytes: left.Bytes / work, Records: left.Records / work})
		if share != shares[0] {
			x.Errorf("credits of %+v and %+v are not equal", share, shares[0])
		}
		if !lessOrEqual(share, fair) || (share.Bytes+1)*8 < fair.Bytes*7-8 || (share.Records+1)*8 < fair.Records*7-8 {
			x.Errorf("each of %d that work (%d) has %+v, a fair part is %+v", work, all, share, fair)
		}
	}
}

func lessOrEqual(a, b Cost) bool { return smallest(a, b) == a }

func TestCredits(t *testing.T) { rapid.Check(t, property) }

func FuzzCredits(f *testing.F) { f.Fuzz(rapid.MakeFuzz(property)) }

// What the documentation says, with the default limits: by how many are open, the least and the
// most that one has, in records.
func TestSharesByNumber(t *testing.T) {
	const floor, whole, most = 1792, 114_688, 28_672
	for _, x := range []struct {
		sessions int
		want     int64
	}{{1, 30_464}, {4, 30_464}, {5, 24_729}, {10, 13_260}, {50, 3_997}, {64, 3_584}} {
		p := New[*client](Cost{Records: floor, Bytes: floor}, Cost{Records: whole, Bytes: whole}, Cost{Records: most, Bytes: most})
		var clients []*client
		for range x.sessions {
			c := new(client)
			c.m = p.Join(c, false)
			clients = append(clients, c)
		}
		for again := true; again; {
			again = false
			for _, o := range p.Balance() {
				p.Answered(o, o.Asked(), Cost{})
				again = true
			}
		}
		for i, c := range clients {
			if got := p.Told(c.m).Records; got != x.want {
				t.Errorf("%d of %d sessions may have %d records outstanding, want %d", i+1, x.sessions, got, x.want)
			}
		}
	}
}

// A client that never answers keeps what it has, and nobody else waits for it for what is free.
func TestWhoDoesNotAnswerKeepsItsCredit(t *testing.T) {
	p := New[*client](Cost{}, Cost{Bytes: 1000, Records: 1000}, Cost{Bytes: 500, Records: 500})
	deaf, honest := p.Join(nil, false), p.Join(nil, false)
	late := p.Join(nil, false)
	if asked := p.Balance(); len(asked) != 2 || p.Told(late) != (Cost{}) {
		t.Fatalf("%d are asked, and the third has %+v already", len(asked), p.Told(late))
	}
	p.Answered(honest, honest.Asked(), Cost{})
	p.Answered(deaf, deaf.Asked()+1, Cost{}) // of another one: no word
	p.Balance()
	if got := p.Bound(deaf).Records; got != 500 {
		t.Errorf("one that did not answer may have %d outstanding, not 500", got)
	}
	if got := p.Told(late).Records; got != 167 {
		t.Errorf("the third has %d, of the 167 that came back", got)
	}
}
