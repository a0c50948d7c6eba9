package unit

// Cost is what units weigh against a limit.
type Cost struct {
	Bytes   int64
	Records int
}

// Add adds another cost.
func (c *Cost) Add(o Cost) { c.Bytes += o.Bytes; c.Records += o.Records }

// Sub takes another cost away.
func (c *Cost) Sub(o Cost) { c.Bytes -= o.Bytes; c.Records -= o.Records }

// Plus returns the sum.
func (c Cost) Plus(o Cost) Cost { return Cost{c.Bytes + o.Bytes, c.Records + o.Records} }

// Within tells whether neither number is beyond the limit's.
func (c Cost) Within(limit Cost) bool { return c.Bytes <= limit.Bytes && c.Records <= limit.Records }
