package budget

import (
	"fmt"
	"math"
)

// unlimited is a limit that is never reached; half of the largest number, so that sums do not
// overflow.
const unlimited = math.MaxInt64 / 2

// amount is what a budget counts.
type amount struct{ bytes, records int64 }

func newAmount(bytes int64, n int) amount {
	records := int64(n)
	if bytes < 0 || records < 0 {
		panic(fmt.Sprintf("budget: negative amount: %d bytes, %d records", bytes, records))
	}
	return amount{bytes, records}
}

func (a amount) plus(o amount) amount  { return amount{a.bytes + o.bytes, a.records + o.records} }
func (a amount) minus(o amount) amount { return amount{a.bytes - o.bytes, a.records - o.records} }

// clamp cuts a request to the whole, so that one which is larger fits into an empty budget, and
// only there.
func (a amount) clamp(o amount) amount {
	return amount{min(a.bytes, o.bytes), min(a.records, o.records)}
}

// within tells whether both quantities keep the bound; reaches, whether at least one is at it.
func (a amount) within(o amount) bool  { return a.bytes <= o.bytes && a.records <= o.records }
func (a amount) reaches(o amount) bool { return a.bytes >= o.bytes || a.records >= o.records }

// percent divides first: the limits may be near the largest number. Small ones do not lose their
// low mark by it.
func (a amount) percent(p int) amount {
	part := func(n int64) int64 { return n/100*int64(p) + n%100*int64(p)/100 }
	return amount{part(a.bytes), part(a.records)}
}

func (a amount) String() string { return fmt.Sprintf("%d bytes and %d records", a.bytes, a.records) }
