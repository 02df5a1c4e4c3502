// Package plantest has what the tests of plans share.
package plantest

import (
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/statesync/statesync/daemon/plan/tree"
	"github.com/statesync/statesync/daemon/source"
)

// Files are files of paths and contents, in turns, sorted by path.
func Files(pairs ...string) []*source.File {
	var list []*source.File
	for pair := range slices.Chunk(pairs, 2) {
		list = append(list, &source.File{Path: pair[0], Data: []byte(pair[1])})
	}
	slices.SortFunc(list, func(a, b *source.File) int { return strings.Compare(a.Path, b.Path) })
	return list
}

// Messages are the problems as they are printed.
func Messages(problems []*tree.Problem) []string {
	var list []string
	for _, p := range problems {
		list = append(list, p.Error())
	}
	return list
}

// WantStrings compares two lists.
func WantStrings(t testing.TB, what string, got, want []string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s:\n got %s\nwant %s", what, strings.Join(got, "\n     "), strings.Join(want, "\n     "))
	}
}

// Repeated is n of a text with commas between; % in it is the number of each.
func Repeated(n int, text string) string { return numbered(n, text, ",") }

// Lines is Repeated with line ends between.
func Lines(n int, text string) string { return numbered(n, text, "\n") }

func numbered(n int, text, between string) string {
	parts := make([]string, n)
	for i := range parts {
		parts[i] = strings.ReplaceAll(text, "%", strconv.Itoa(i))
	}
	return strings.Join(parts, between)
}
