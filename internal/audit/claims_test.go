package audit

import "testing"

// Outputs of an input that was handled more than once, by versions that name their number and by
// older ones.
func TestClaims(t *testing.T) {
	type seen struct{ output, count int32 }
	for name, c := range map[string]struct {
		outputs []seen
		whole   bool
	}{
		"none":                                  {nil, true},
		"all of two":                            {[]seen{{0, 2}, {1, 2}}, true},
		"one of two":                            {[]seen{{0, 2}}, false},
		"a hole":                                {[]seen{{0, 0}, {2, 0}}, false},
		"one of one, and more without a number": {[]seen{{0, 0}, {0, 1}, {2, 0}}, true},
		"one without a number proves nothing":   {[]seen{{0, 0}, {0, 2}}, false},
		"one without a number is the missing one":  {[]seen{{0, 2}, {1, 0}}, true},
		"another call made three, and one is lost": {[]seen{{0, 1}, {0, 3}, {1, 3}}, true},
	} {
		var all claims
		for _, s := range c.outputs {
			all = all.see(s.output, s.count)
		}
		if all.whole() != c.whole {
			t.Errorf("%s: whole is %t", name, all.whole())
		}
	}
}
