package decode

import (
	"iter"
	"strings"
)

const (
	maxNearestName  = 128    // bytes of a name that Nearest compares
	maxNearestNames = 10_000 // names that Nearest compares
)

// Nearest returns the name that is most like the wanted one, or "" if none is
// near. Names that differ by case only are nearest. Else the distance counts
// letters that are missing, added, wrong, or swapped with the next one; a third
// of the letters after the last dot may be wrong, and at most three.
//
// It skips names longer than 128 bytes and looks at no more than 10,000 names,
// so that a hostile config cannot make it slow.
func Nearest(want string, have iter.Seq[string]) string {
	if len(want) > maxNearestName {
		return ""
	}
	best, limit := "", tolerance(want)
	wanted := []rune(strings.ToLower(want))
	count := 0
	for name := range have {
		if count++; count > maxNearestNames {
			break
		}
		if len(name) > maxNearestName {
			continue
		}
		if strings.EqualFold(name, want) {
			return name
		}
		if d := distance(wanted, []rune(strings.ToLower(name)), limit); d <= limit {
			best, limit = name, d-1 // from here only a nearer name counts
		}
	}
	return best
}

// tolerance is the greatest distance at which a name is near.
func tolerance(want string) int {
	dot := strings.LastIndexByte(want, '.')
	n := (len([]rune(want[dot+1:])) + 1) / 3
	if dot >= 0 {
		n = max(n, 1) // a short key may be in a misspelt object
	}
	return min(n, 3)
}

// distance is the number of letters to delete, insert, replace or swap with the
// next one to make b of a, or limit+1 if it is greater than limit.
func distance(a, b []rune, limit int) int {
	if len(a)-len(b) > limit || len(b)-len(a) > limit {
		return limit + 1
	}
	// Rows i-2, i-1 and i of the table of distances between prefixes.
	before, last, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row[0] = i
		least := i
		for j := 1; j <= len(b); j++ {
			replace := last[j-1]
			if a[i-1] != b[j-1] {
				replace++
			}
			row[j] = min(replace, last[j]+1, row[j-1]+1)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
			least = min(least, row[j])
		}
		if least > limit { // and so is all that follows
			return limit + 1
		}
		before, last, row = last, row, before
	}
	return min(last[len(b)], limit+1)
}
