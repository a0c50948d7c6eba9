package txn

// takeBehind takes out what is in hand of claims whose offsets cannot be committed, behind units
// that fail for it: their outputs must not be seen before those of what comes before them (S7).
func (l *Lane) takeBehind(refused map[*Claim]error) (behind []Run) {
	if len(refused) == 0 {
		return nil
	}
	l.takeOver()
	take := func(runs []Run) (left []Run) {
		for _, r := range runs {
			for i := r.From; i < r.To; i++ {
				if one := (Run{r.Batch, i, i + 1}); refused[r.Batch.Unit(i).Claim] != nil {
					behind = appendRun(behind, one)
				} else {
					left = appendRun(left, one)
				}
			}
		}
		return left
	}
	l.again = take(l.again)
	for at, runs := range l.parked.runs {
		l.parked.runs[at] = take(runs)
	}
	l.queue = take(l.queue)
	return behind
}
