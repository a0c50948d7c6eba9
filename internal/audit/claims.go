package audit

import "slices"

// claim is what outputs of one input say: that there are count of them. next is the first number
// that was not seen, in ascending order; hole says that a later one was. A handler that is called
// again may make another number of outputs; an input is whole when one of its claims is.
type claim struct {
	count int32 // 0: not said
	next  int32
	hole  bool
}

func (c *claim) see(output int32) {
	switch {
	case c.count != 0 && output >= c.count: // of a call that made more
	case output == c.next:
		c.next++
	case output > c.next:
		c.hole = true
	}
}

func (c *claim) whole() bool { return !c.hole && (c.count == 0 || c.next == c.count) }

// claims of one input. Its outputs are seen in ascending order of their numbers. Those that name no
// count speak for every claim; the others only for theirs.
type claims []claim

func (all claims) see(output, count int32) claims {
	if count == 0 {
		for i := range all {
			all[i].see(output)
		}
	}
	i := slices.IndexFunc(all, func(c claim) bool { return c.count == count })
	switch {
	case i < 0:
		c := claim{count: count}
		if without := slices.IndexFunc(all, func(c claim) bool { return c.count == 0 }); without >= 0 {
			c.next, c.hole = all[without].next, all[without].hole
		}
		c.see(output)
		return append(all, c)
	case count != 0:
		all[i].see(output)
	}
	return all
}

// whole says whether all outputs of one claim are there. One without a count proves nothing where
// others have one.
func (all claims) whole() bool {
	counted := slices.ContainsFunc(all, func(c claim) bool { return c.count != 0 })
	return len(all) == 0 || slices.ContainsFunc(all, func(c claim) bool { return (c.count != 0) == counted && c.whole() })
}

// missing is the first number that is missing, and of how many, by the claim that has most; nil
// where nothing tells.
func (all claims) missing() (number, of *int32) {
	var best *claim
	for i := range all {
		if c := &all[i]; !c.whole() && (best == nil || c.count != 0 && best.count == 0 || c.next > best.next && (c.count != 0 || best.count == 0)) {
			best = c
		}
	}
	if best == nil {
		return nil, nil
	}
	next, count := best.next, best.count
	if count == 0 {
		return &next, nil
	}
	return &next, &count
}

// absences are outputs that lost inputs miss, and where those of other inputs are, by their
// numbers. A topic that --output does not name has all of one number.
type absences [maxNumbers]struct {
	missing int64
	topics  []string
}

const maxNumbers = 16 // numbers above are not explained

func (a *absences) seen(output int32, topic string) {
	if output >= 0 && output < maxNumbers && !slices.Contains(a[output].topics, topic) {
		a[output].topics = append(a[output].topics, topic)
	}
}

func (a *absences) miss(output *int32) {
	if output != nil && *output < maxNumbers {
		a[*output].missing++
	}
}
