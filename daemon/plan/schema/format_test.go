package schema_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"testing"

	"github.com/statesync/statesync/daemon/plan"
	"github.com/statesync/statesync/daemon/plan/plantest"
)

// TestFormats has values that fit a format of draft 7, and some that do not.
func TestFormats(t *testing.T) {
	for format, s := range map[string]struct{ good, bad []string }{
		"uri": {
			[]string{"http://example.com:8080/a/b?c=d#e", "urn:isbn:1", "mailto:a@b", "http://[2001:db8::1]:80/", "file:///etc/x", "http://u:p@h/", "tel:+1-816-555-1212", "a:", "http://x/%20"},
			[]string{"", "//h/p", "/p", "a", "http:// x", "http://x/<y>", "http://x/%2", "http://x/é", "http://[::1", "http://[1.2.3.4]/", "http://x:y/", "1a:b", ":a", "http://x/[y]", "a:b#c#d", "http://x/{y}", `a:\\b`, "a:b|c", "a:b^c"},
		},
		"iri":           {[]string{"http://x/é"}, []string{"é", "http://x/ y"}},
		"uri-reference": {[]string{"", "a", "../b", "//h/p", "?q", "#f", "http://x/"}, []string{`\\\\x`, "a b", "é", "#a#b", "[x]", "1:b", `a\"b`}},
		"iri-reference": {[]string{"é"}, []string{"é b"}},
		"uri-template": {
			[]string{"", "http://x/{a}", "{+path}/here", "{?q,lang*}", "{var:30}", "/{a.b}{/c}", "x{#y}", "/é", "{a%20b}", "http://x:{port}/"},
			[]string{"{", "}", "{}", "{a", "{{a}}", "{a b}", "{a,}", "{++a}", "{a:0}", "{a:12345}", "a b", "%2", "{a..b}", "{a}}", "a|b"},
		},
		"ipv4":     {[]string{"0.0.0.0", "255.255.255.255"}, []string{"", "1.2.3", "+1.2.3.4", "1.2.3.256", "01.2.3.4", "1.2.3.4.5", "::1", "::ffff:1.2.3.4", "1.2.3.4 ", "-0.1.2.3", "１.2.3.4"}},
		"hostname": {[]string{"a", "www.example.com", "1.2", "a-b.c", "xn--nxasmq6b"}, []string{"", ".", "a.", ".a", "-a", "a-", "a_b", "a..b", "é.com", "a b"}},
		"email": {
			[]string{"a@b", "a.b+c@example.com", `\"a b\"@example.com`, "a@[127.0.0.1]", "a@[IPv6:::1]", "a/b@c"},
			[]string{"", "a", "@b", "a@", "a..b@c", ".a@b", "a.@b", "a b@c", "a@b c", "a@b@c", "a@-b", "a@[1.2.3]", "a@[127.0.0.1", "é@b", "a@b_c"},
		},
	} {
		schema := fmt.Sprintf(`{"$schema": "http://json-schema.org/draft-07/schema#", "additionalProperties": {"format": %q}}`, format)
		for _, value := range append(s.good, s.bad...) {
			want := 0
			if !slices.Contains(s.good, value) {
				want = 1
			}
			var text string
			if err := json.Unmarshal([]byte(`"`+value+`"`), &text); err != nil {
				t.Fatal(value, err)
			}
			r := made(plan.New(plan.Options{}), plantest.Files("m.schema.json", schema, "m.json", `{"a": "`+value+`"}`))
			if got := plantest.Messages(r.Problems); len(got) != want {
				t.Errorf("%s %q: problems %q, want %d", format, text, got, want)
			}
			for _, p := range r.Problems {
				if want := "the value is not a valid " + format + ": the value (m.schema.json#/additionalProperties)"; p.WithoutValues().What != want {
					t.Errorf("without values: %q, want %q", p.WithoutValues().What, want)
				}
			}
		}
	}
}
