package main

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

// didYouMean words what was perhaps meant instead of a name or key that is not
// there: "; did you mean matchmaker?".
func didYouMean(missing string, there []string) string {
	type candidate struct {
		word string
		far  int
	}
	if missing == "" || len(missing) > maxNearLength {
		return ""
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
	if near == nil {
		return ""
	}
	slices.SortStableFunc(near, func(a, b candidate) int { return cmp.Compare(a.far, b.far) })
	var words []string
	for _, c := range near[:min(len(near), maxNear)] {
		words = append(words, c.word)
	}
	return "; did you mean " + strings.Join(words, ", or ") + "?"
}
