package decode

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

func TestNearest(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		want string
		have []string
		near string
	}{
		{"party", []string{"elo", "parity", "ping"}, "parity"},
		{"naem", []string{"same", "name"}, "name"},
		{"Name", []string{"nume", "name", "Nama"}, "name"},
		{"ÉCOLE", []string{"école"}, "école"},
		{"weights.party", []string{"parity", "weights.parity", "weights.elo"}, "weights.parity"},
		{"wegihts.a", []string{"weights.b", "weights.a"}, "weights.a"},
		{"weights.elo", []string{"weights.age"}, ""},
		{"timeouts", []string{"timeout", "timeuots"}, "timeout"},
		{"maxconnections", []string{"max_connection"}, "max_connection"},
		{"maxconnections", []string{"max_conn"}, ""},
		{"color", []string{"elo", "parity"}, ""},
		{"x", []string{"y"}, ""},
		{"x", []string{"X"}, "X"},
		{"", []string{"a", ""}, ""},
		{"id", []string{"ip", "i"}, "ip"},
		{"a", nil, ""},
		{strings.Repeat("a", 129), []string{strings.Repeat("a", 128)}, ""},
		{strings.Repeat("a", 128), []string{strings.Repeat("a", 129), strings.Repeat("a", 127)}, strings.Repeat("a", 127)},
	} {
		if near := Nearest(c.want, slices.Values(c.have)); near != c.near {
			t.Errorf("nearest to %q of %q is %q, want %q", c.want, c.have, near, c.near)
		}
	}
}

func TestNearestLooksAtBoundedlyManyNames(t *testing.T) {
	t.Parallel()
	seen := 0
	Nearest("name", func(yield func(string) bool) {
		for yield(fmt.Sprint("other", seen)) {
			seen++
		}
	})
	if seen != maxNearestNames {
		t.Errorf("nearest looked at %d names", seen)
	}
}

// slowDistance is the definition of distance.
func slowDistance(a, b []rune) int {
	switch {
	case len(a) == 0:
		return len(b)
	case len(b) == 0:
		return len(a)
	}
	replace := slowDistance(a[1:], b[1:])
	if a[0] != b[0] {
		replace++
	}
	d := min(replace, slowDistance(a[1:], b)+1, slowDistance(a, b[1:])+1)
	if len(a) > 1 && len(b) > 1 && a[0] == b[1] && a[1] == b[0] {
		d = min(d, slowDistance(a[2:], b[2:])+1)
	}
	return d
}

func TestDistance(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(1, 1))
	word := func() []rune {
		w := make([]rune, r.IntN(7))
		for i := range w {
			w[i] = 'a' + rune(r.IntN(3))
		}
		return w
	}
	for range 3000 {
		a, b, limit := word(), word(), r.IntN(4)
		if got, want := distance(a, b, limit), min(slowDistance(a, b), limit+1); got != want {
			t.Fatalf("distance of %q and %q up to %d is %d, want %d", string(a), string(b), limit, got, want)
		}
	}
}
