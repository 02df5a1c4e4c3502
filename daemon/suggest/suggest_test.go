package suggest

import (
	"strings"
	"testing"
)

func TestDidYouMean(t *testing.T) {
	there := []string{"matchmaker", "matchmaking", "team/limits", "weights.elo", "weights.ping", "x"}
	for _, test := range []struct{ missing, want string }{
		{"matchmakr", "; did you mean matchmaker, or matchmaking?"},
		{"Matchmaker", "; did you mean matchmaker, or matchmaking?"},
		{"limits", "; did you mean team/limits?"},
		{"elo", "; did you mean weights.elo?"},
		{"weights", "; did you mean weights.elo, or weights.ping?"},
		{"y", "; did you mean x?"},
		{"zebra", ""},
		{"", ""},
		{strings.Repeat("m", 1000), ""},
	} {
		if got := DidYouMean(test.missing, there); got != test.want {
			t.Errorf("%.20s: %q, want %q", test.missing, got, test.want)
		}
	}
}
