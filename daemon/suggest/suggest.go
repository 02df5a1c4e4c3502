// Package suggest names what was perhaps meant instead of a name that is not there. It
// is for messages: its costs are bounded, whatever is asked for.
package suggest

import (
	"cmp"
	"slices"
	"strings"

	"github.com/agnivade/levenshtein"
)

const (
	maxNear       = 3      // suggestions in one message
	maxNearLength = 100    // bytes of what is suggested for
	maxCandidates = 20_000 // that are looked at
)

// DidYouMean words what was perhaps meant instead of a name or key that is not
// there: "; did you mean matchmaker?". It is empty if nothing is near.
func DidYouMean(missing string, there []string) string {
	words := Near(missing, there)
	if words == nil {
		return ""
	}
	return "; did you mean " + strings.Join(words, ", or ") + "?"
}

// Near are the few names that are nearest to one that is missing, the nearest first:
// those that take few edits to get to, whatever the case, and those that it is the
// beginning or the last part of.
func Near(missing string, there []string) []string {
	type candidate struct {
		word string
		far  int
	}
	if missing == "" || len(missing) > maxNearLength {
		return nil
	}
	var near []candidate
	limit := max(1, len(missing)/3)
	for _, word := range there[:min(len(there), maxCandidates)] {
		far := limit + 1
		if d := len(word) - len(missing); d <= limit && -d <= limit {
			far = levenshtein.ComputeDistance(strings.ToLower(missing), strings.ToLower(word))
		}
		if far <= limit || strings.HasSuffix(word, "."+missing) || strings.HasSuffix(word, "/"+missing) ||
			strings.HasPrefix(word, missing) {
			near = append(near, candidate{word, far})
		}
	}
	slices.SortStableFunc(near, func(a, b candidate) int {
		return cmp.Or(cmp.Compare(a.far, b.far), strings.Compare(a.word, b.word))
	})
	var words []string
	for _, c := range near[:min(len(near), maxNear)] {
		words = append(words, c.word)
	}
	return words
}
