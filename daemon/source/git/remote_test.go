//go:build unix

package git

import (
	"strings"
	"testing"
	"time"

	"github.com/statesync/statesync/daemon/source"
)

func TestSpecs(t *testing.T) {
	schemes := source.Schemes{Scheme}
	for text, want := range map[string]string{ // "": it is accepted
		"git:https://example.com/config.git":                                         "",
		"base=git:https://example.com:8443/a/config.git?ref=release/1&path=prod/eu/": "",
		"git:http://127.0.0.1:80/config.git?credentials=/run/secret":                 "",
		"git:file:///srv/config.git?interval=5s":                                     "",
		"git:ssh://git@example.com/config.git?key=/k&known-hosts=/h":                 "",
		"git:https://example.com/a%2520b.git":                                        "",
		"git:":                                                                       "names no repository",
		"git:git@example.com:config.git":                                             "cannot be parsed",
		"git:example.com/config.git":                                                 "without a scheme",
		"git:ftp://example.com/config.git":                                           "https, http, ssh and file",
		"git:ext::sh":                                                                "https, http, ssh and file",
		"git:https://bot:secret@example.com/x.git":                                   "credentials=FILE",
		"git:https://secret@example.com/x.git":                                       "credentials=FILE",
		"git:https://bot:sec^ret@exa mple.com/x":                                     "cannot be parsed",
		"git:ssh://bot:secret@example.com/x.git":                                     "key=FILE",
		"git:https:///x.git":                                                         "without a host",
		"git:ssh://-oProxyCommand=x/x.git":                                           "",
		"git:https://example.com/x.git%3Fa=b":                                        "a ? or a #",
		"git:https://example.com/x.git#a":                                            "a ? or a #",
		"git:file://host/x.git":                                                      "absolute path",
		"git:file:x.git":                                                             "absolute path",
		"git:https://e/x?ref=a..b":                                                   "ref=",
		"git:https://e/x?ref=-a":                                                     "ref=",
		"git:https://e/x?ref=a:b":                                                    "ref=",
		"git:https://e/x?ref=a*":                                                     "ref=",
		"git:https://e/x?ref=":                                                       "ref=",
		"git:https://e/x?ref=a.lock":                                                 "ref=",
		"git:https://e/x?ref=a//b":                                                   "ref=",
		"git:https://e/x?ref=a%0Ab":                                                  "ref=",
		"git:https://e/x?path=../x":                                                  "path=",
		"git:https://e/x?path=a//b":                                                  "path=",
		"git:https://e/x?path=/":                                                     "path=",
		"git:https://e/x?key=/k":                                                     "which is for ssh",
		"git:file:///x?credentials=/k":                                               "which is for https",
		"git:ssh://e/x?credentials=/k":                                               "which is for https",
		"git:ssh://e/x?key=/k":                                                       "known-hosts=FILE",
		"git:ssh://e/x?known-hosts=/k":                                               "key=FILE",
		"git:ssh://e/x?known-hosts=/k&key=/a b":                                      "white space",
		"git:ssh://e/x?known-hosts=/k&key=/a'b":                                      "white space",
		"git:http://example.com/x?credentials=/k":                                    "write https",
		"git:https://e/x?verify=tag=prod-*&signers=/s":                               "",
		"git:https://e/x?verify=tag=*&signers=/s":                                    "",
		"git:https://e/x?verify=tag=prod-*":                                          "signers=FILE",
		"git:https://e/x?verify=tag=prod-*&signers=/s&ref=main":                      "remove ref=",
		"git:https://e/x?verify=tag=prod&signers=/s":                                 "one *",
		"git:https://e/x?verify=tag=*-*&signers=/s":                                  "one *",
		"git:https://e/x?verify=tag=&signers=/s":                                     "one *",
		"git:https://e/x?verify=tag=v?*&signers=/s":                                  "one *",
		"git:https://e/x?verify=tag=-*&signers=/s":                                   "one *",
		"git:https://e/x?verify=tag&signers=/s":                                      "refs/tags/NAME",
		"git:https://e/x?verify=commit=a*&signers=/s":                                "give commit, tag or tag=PATTERN",
		"git:https://e/x?ff=only":                                                    "",
		"git:https://e/x?ff=yes":                                                     "ff=only",
		"git:https://e/x?reff=main":                                                  "ref",
	} {
		_, err := schemes.Parse([]string{text})
		if text == "git:ssh://-oProxyCommand=x/x.git" {
			want = "host"
		}
		switch {
		case want == "" && err != nil:
			t.Errorf("%s: %v", text, err)
		case want != "" && (err == nil || !strings.Contains(err.Error(), want)):
			t.Errorf("%s: the error is %v, without %q", text, err, want)
		}
	}
}

func TestIdentityIsOfTheHistory(t *testing.T) {
	schemes := source.Schemes{Scheme}
	specs, err := schemes.Parse([]string{
		"a=git:https://example.com/x.git", "b=git:https://example.com/x.git?ref=main&interval=1m&path=prod&prefix=b/",
		"c=git:https://example.com/x.git?ref=dev", "d=git:https://example.com/y.git",
	})
	if err != nil {
		t.Fatal(err)
	}
	a, b, c, d := schemes.Identity(specs[0]), schemes.Identity(specs[1]), schemes.Identity(specs[2]), schemes.Identity(specs[3])
	if a != b || a == c || a == d {
		t.Errorf("the identities are %s, %s, %s and %s", a, b, c, d)
	}
}

func TestIntervals(t *testing.T) {
	schemes := source.Schemes{Scheme}
	for text, want := range map[string]time.Duration{
		"git:https://example.com/x.git":                   10 * time.Second,
		"git:file:///x.git":                               10 * time.Second,
		"git:ssh://e/x?key=/k&known-hosts=/h":             time.Minute,
		"git:ssh://e/x?key=/k&known-hosts=/h&interval=2s": 2 * time.Second,
	} {
		specs, err := schemes.Parse([]string{text})
		if err != nil {
			t.Fatal(err)
		}
		if got, polls := schemes.Polls(specs[0]); got != want || !polls {
			t.Errorf("%s is polled every %v, want %v", text, got, want)
		}
	}
}

func TestWarnsOfPlainHTTP(t *testing.T) {
	for text, want := range map[string]bool{
		"git:http://example.com/x.git": true, "git:http://127.0.0.1/x.git": false, "git:http://[::1]/x.git": false,
		"git:http://localhost/x.git": false, "git:https://example.com/x.git": false,
	} {
		warned := false
		open(t, text, source.Options{Warn: func(error) { warned = true }})
		if warned != want {
			t.Errorf("%s: warned is %v, want %v", text, warned, want)
		}
	}
}
