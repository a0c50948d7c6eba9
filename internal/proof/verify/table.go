package verify

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// String is the verdict on one line.
func (r OutputsResult) String() string {
	return fmt.Sprintf("%s: %d inputs, %d outputs, %d lost, %d duplicated, %d reordered, %d unknown, %d corrupt",
		r.Name, r.Inputs, r.Outputs, r.Lost, r.Duplicated, r.Reordered+r.Split, r.Unknown, r.Corrupt)
}

// Details lists the first ids of each kind of trouble, one kind a line, or nothing.
func (r OutputsResult) Details() string {
	var b strings.Builder
	for _, kind := range []struct {
		name string
		ids  []string
	}{
		{"lost", r.LostIDs}, {"duplicated", r.DuplicatedIDs}, {"reordered", r.ReorderedIDs}, {"unknown", r.UnknownIDs}, {"corrupt", r.CorruptIDs},
	} {
		if len(kind.ids) > 0 {
			fmt.Fprintf(&b, "%s %s, first: %s\n", r.Name, kind.name, strings.Join(kind.ids, "; "))
		}
	}
	return b.String()
}

// Table puts results side by side, one column each.
func Table(results ...OutputsResult) string {
	rows := [][]string{{""}, {"inputs"}, {"outputs"}, {"lost"}, {"duplicated"}, {"reordered per key"}, {"unknown"}, {"corrupt"}}
	for _, r := range results {
		for i, v := range []any{r.Name, r.Inputs, r.Outputs, r.Lost, r.Duplicated, r.Reordered + r.Split, r.Unknown, r.Corrupt} {
			rows[i] = append(rows[i], fmt.Sprint(v))
		}
	}
	return align(rows)
}

// align sets the first column to the left and the others to the right.
func align(rows [][]string) string {
	var width []int
	for _, row := range rows {
		for i, cell := range row {
			if i == len(width) {
				width = append(width, 0)
			}
			width[i] = max(width[i], utf8.RuneCountInString(cell))
		}
	}
	var b strings.Builder
	for _, row := range rows {
		for i, cell := range row {
			pad := strings.Repeat(" ", width[i]-utf8.RuneCountInString(cell))
			if i == 0 {
				b.WriteString(cell + pad)
				continue
			}
			b.WriteString("  " + pad + cell)
		}
		b.WriteByte('\n')
	}
	return b.String()
}
