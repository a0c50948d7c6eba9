package ledger

// Cost is what units take of the credit.
type Cost struct {
	Bytes, Records int64
}

func (c *Cost) add(o Cost) {
	c.Bytes += o.Bytes
	c.Records += o.Records
}

func (c *Cost) sub(o Cost) {
	c.Bytes -= o.Bytes
	c.Records -= o.Records
}

func (c Cost) within(limit Cost) bool { return c.Bytes <= limit.Bytes && c.Records <= limit.Records }

// Message is the units of one message: consecutive sequence numbers. It is used again, see Begin.
type Message struct {
	// Owner is whose message it is. The ledger only keeps it.
	Owner any

	first      uint64
	costs      []Cost // by unit
	total      Cost
	acked      []uint64 // bitmap by unit: acked and not reported
	told       []uint64 // bitmap by unit: reported
	dirty      bool     // in Ledger.dirty
	unreported int

	before, after *Message // in the ledger
}

// Begin makes it a message without units, which has room for some.
func (m *Message) Begin(first uint64, units int) {
	if cap(m.costs) < units {
		m.costs = make([]Cost, 0, max(units, 64))
	}
	m.first, m.costs, m.total, m.dirty, m.unreported = first, m.costs[:0], Cost{}, false, 0
	words := (units + 63) / 64
	if cap(m.acked) < words {
		m.acked, m.told = make([]uint64, words), make([]uint64, words)
		return
	}
	m.acked, m.told = m.acked[:words], m.told[:words]
	clear(m.acked)
	clear(m.told)
}

// Add adds the next unit, one of those that Begin made room for.
func (m *Message) Add(c Cost) {
	m.costs = append(m.costs, c)
	m.total.add(c)
	m.unreported++
}

// First is the sequence number of its first unit.
func (m *Message) First() uint64 { return m.first }

// Len is the number of its units.
func (m *Message) Len() int { return len(m.costs) }

// Cost is that of a unit.
func (m *Message) Cost(unit int) Cost { return m.costs[unit] }

// Total is the cost of all its units.
func (m *Message) Total() Cost { return m.total }

func (m *Message) end() uint64 { return m.first + uint64(len(m.costs)) }

func (m *Message) wasTold(seq uint64) bool {
	i := seq - m.first
	return m.told[i/64]&(1<<(i%64)) != 0
}
